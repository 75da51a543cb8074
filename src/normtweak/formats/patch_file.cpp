#include "normtweak/formats/patch_file.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <memory>
#include <ostream>
#include <set>
#include <streambuf>
#include <string_view>
#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/formats/safetensors.h"

namespace normtweak::formats {
namespace {

constexpr const char *kFormat = "normtweak-patch", *kVersion = "2";
constexpr const char *kPieces = "pieces", *kBytes = "bytes";
constexpr std::int64_t kFields = 4;

// A running XXH3 of 128 bits.
class Hash {
 public:
  Hash() : state_(XXH3_createState(), XXH3_freeState) { XXH3_128bits_reset(state_.get()); }
  void add(std::span<const std::byte> bytes) { XXH3_128bits_update(state_.get(), bytes.data(), bytes.size()); }
  std::string text() const {
    const auto value = XXH3_128bits_digest(state_.get());
    return fmt::format("{:016x}{:016x}", value.high64, value.low64);
  }

 private:
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state_;
};

// Hashes what is written to it, and passes it on.
class HashBuffer : public std::streambuf {
 public:
  explicit HashBuffer(std::streambuf* next = nullptr) : next_(next) {}
  std::string text() const { return hash_.text(); }

 protected:
  std::streamsize xsputn(const char* bytes, std::streamsize count) override {
    hash_.add(std::as_bytes(std::span(bytes, static_cast<std::size_t>(count))));
    return next_ == nullptr ? count : next_->sputn(bytes, count);
  }
  int_type overflow(int_type letter) override {
    const auto byte = static_cast<char>(letter);
    xsputn(&byte, 1);
    return letter;
  }

 private:
  Hash hash_;
  std::streambuf* next_;
};

struct Hashes {
  std::string base, result;
};

// Of `base` and of what it becomes, which goes on to `next`. Reads the base once, since it may be larger than memory.
Hashes write_hashed(std::span<const std::byte> base, const std::vector<BytePatch>& patches, std::ostream* next) {
  Hash of_base;
  HashBuffer buffer(next == nullptr ? nullptr : next->rdbuf());
  std::ostream stream(&buffer);
  write_patched(base, patches, stream, [&](std::span<const std::byte> part) { of_base.add(part); });
  if (!stream) next->setstate(std::ios::badbit);
  return {.base = of_base.text(), .result = buffer.text()};
}

std::string hash_of_replaced(std::span<const std::byte> base, const std::vector<BytePatch>& patches) {
  Hash hash;
  for (const auto& patch : patches) {
    for (std::uint64_t piece = 0; piece < patch.pieces(); ++piece) {
      hash.add(base.subspan(patch.offset + piece * patch.stride, patch.width));
    }
  }
  return hash.text();
}

[[noreturn]] void refuse_content(const std::filesystem::path& name, const std::filesystem::path& patch_name) {
  fail("{}: not the file that {} was made for: its size is the same, but not its content", name.string(),
       patch_name.string());
}

std::string text_of(const SafetensorsFile& file, const std::string& key, const std::filesystem::path& path) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end()) {
    fail("{}: no patch, its metadata lacks {}; give a file that `normtweak tweak --patch` wrote", path.string(), key);
  }
  return found->second;
}

std::uint64_t number_of(const std::string& text, const std::filesystem::path& path) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool is_number = error == std::errc() && end == text.data() + text.size() && !text.empty();
  if (!is_number || value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    fail("{}: `{}` stands where a number is needed; the file is damaged", path.string(), text);
  }
  return value;
}

// The next patch, of which `fields` are the numbers; takes its bytes off `left`.
BytePatch read_patch(const std::int64_t* fields, std::span<const std::byte>& left, std::uint64_t base_bytes,
                     const std::filesystem::path& path) {
  for (std::int64_t i = 0; i < kFields; ++i) {
    if (fields[i] < 0) fail("{}: a negative number in its pieces; the file is damaged", path.string());
  }
  BytePatch patch = {.offset = static_cast<std::uint64_t>(fields[0]),
                     .stride = static_cast<std::uint64_t>(fields[1]),
                     .width = static_cast<std::uint64_t>(fields[2]),
                     .bytes = {}};
  const auto count = static_cast<std::uint64_t>(fields[3]);
  if (patch.width == 0 || count == 0 || patch.stride < patch.width || count > left.size() / patch.width) {
    fail("{}: its pieces do not fit its bytes; the file is damaged", path.string());
  }
  const auto bytes = left.first(count * patch.width);
  left = left.subspan(bytes.size());
  const auto room = base_bytes < patch.width ? 0 : base_bytes - patch.width;
  if (base_bytes < patch.width || patch.offset > room || (count - 1) > (room - patch.offset) / patch.stride) {
    fail("{}: its pieces lie outside the {} of its base; the file is damaged", path.string(),
         counted(static_cast<std::int64_t>(base_bytes), "byte"));
  }
  patch.bytes.assign(bytes.begin(), bytes.end());
  return patch;
}

}  // namespace

namespace {

// pieces and bytes of one file.
std::pair<at::Tensor, at::Tensor> tensors_of(const std::vector<BytePatch>& changed) {
  auto pieces = at::empty({static_cast<std::int64_t>(changed.size()), kFields}, at::kLong);
  std::int64_t total = 0;
  for (const auto& patch : changed) total += static_cast<std::int64_t>(patch.bytes.size());
  auto bytes = at::empty({total}, at::kByte);
  auto* field = pieces.mutable_data_ptr<std::int64_t>();
  auto* target = bytes.mutable_data_ptr<std::uint8_t>();
  for (const auto& patch : changed) {
    for (const auto value : {patch.offset, patch.stride, patch.width, patch.pieces()}) {
      *field++ = static_cast<std::int64_t>(value);
    }
    std::memcpy(target, patch.bytes.data(), patch.bytes.size());
    target += patch.bytes.size();
  }
  return {pieces, bytes};
}

std::string numbered(std::string_view key, std::uint64_t number) { return fmt::format("{}.{}", key, number); }

PatchedFile load_file(const SafetensorsFile& file, std::uint64_t number, const std::filesystem::path& path) {
  const auto value = [&](std::string_view key) { return text_of(file, numbered(key, number), path); };
  PatchedFile patch;
  patch.name = value("name");
  const bool is_plain = !patch.name.empty() && patch.name != "." && patch.name != ".." &&
                        patch.name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
  if (!is_plain) fail("{}: changes `{}`, which is not the name of a file", path.string(), patch.name);
  patch.base_bytes = number_of(value("base_bytes"), path);
  patch.base_hash = value("base_xxh3");
  patch.result_hash = value("result_xxh3");
  const auto replaced = file.metadata().find(numbered("replaced_xxh3", number));
  if (replaced != file.metadata().end()) patch.replaced_hash = replaced->second;
  const auto pieces_name = numbered(kPieces, number), bytes_name = numbered(kBytes, number);
  const bool has_both = file.contains(pieces_name) && file.contains(bytes_name);
  const auto pieces = has_both ? file.read(pieces_name).contiguous() : at::empty({0}, at::kLong),
             bytes = has_both ? file.read(bytes_name).contiguous() : at::empty({0}, at::kByte);
  if (pieces.scalar_type() != at::kLong || pieces.dim() != 2 || pieces.size(1) != kFields ||
      bytes.scalar_type() != at::kByte || bytes.dim() != 1) {
    fail("{}: tensors {} i64 [patches, {}] and {} u8 [bytes] expected; the file is damaged", path.string(), pieces_name,
         kFields, bytes_name);
  }
  auto left = std::as_bytes(std::span(bytes.const_data_ptr<std::uint8_t>(), static_cast<std::size_t>(bytes.numel())));
  for (std::int64_t i = 0; i < pieces.size(0); ++i) {
    patch.patches.push_back(
        read_patch(pieces.const_data_ptr<std::int64_t>() + i * kFields, left, patch.base_bytes, path));
  }
  if (!left.empty()) fail("{}: more bytes than its pieces need; the file is damaged", path.string());
  return patch;
}

}  // namespace

void save_patch(const std::filesystem::path& path, const std::vector<FileChanges>& files) {
  Metadata metadata = {{"format", kFormat}, {"version", kVersion}, {"files", std::to_string(files.size())}};
  NamedTensors tensors;
  for (std::size_t i = 0; i < files.size(); ++i) {
    const auto& [name, base, patches] = files[i];
    const auto changed = changes_only(base, patches);
    auto [pieces, bytes] = tensors_of(changed);
    tensors.emplace_back(numbered(kPieces, i), std::move(pieces));
    tensors.emplace_back(numbered(kBytes, i), std::move(bytes));
    const auto hashes = write_hashed(base, changed, nullptr);
    metadata[numbered("name", i)] = name;
    metadata[numbered("base_bytes", i)] = std::to_string(base.size());
    metadata[numbered("base_xxh3", i)] = hashes.base;
    metadata[numbered("result_xxh3", i)] = hashes.result;
    metadata[numbered("replaced_xxh3", i)] = hash_of_replaced(base, changed);
  }
  write_safetensors(path, to_write(tensors), metadata);
}

std::vector<PatchedFile> load_patch(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  if (text_of(file, "format", path) != kFormat) {
    fail("{}: no patch; give a file that `normtweak tweak --patch` wrote", path.string());
  }
  if (const auto version = text_of(file, "version", path); version != kVersion) {
    fail("{}: a patch of version {}, and this program reads {}; use the version of normtweak that wrote it",
         path.string(), version, kVersion);
  }
  const auto count = number_of(text_of(file, "files", path), path);
  if (count == 0 || count > file.names().size()) {
    fail("{}: names {} files and holds {} tensors; the file is damaged", path.string(), count, file.names().size());
  }
  std::vector<PatchedFile> files;
  std::set<std::string> names;
  for (std::uint64_t i = 0; i < count; ++i) {
    files.push_back(load_file(file, i, path));
    const auto& name = files.back().name;
    if (!names.insert(name).second) fail("{}: changes {} twice; the file is damaged", path.string(), name);
  }
  return files;
}

void check_base(const PatchedFile& patch, std::span<const std::byte> base, const std::filesystem::path& name,
                const std::filesystem::path& patch_name) {
  if (base.size() != patch.base_bytes) {
    fail("{}: not the file that {} was made for: it has {}, and that had {}", name.string(), patch_name.string(),
         counted(static_cast<std::int64_t>(base.size()), "byte"), patch.base_bytes);
  }
  if (!patch.replaced_hash || *patch.replaced_hash == hash_of_replaced(base, patch.patches)) return;
  refuse_content(name, patch_name);
}

void write_result(const PatchedFile& patch, std::span<const std::byte> base, const std::filesystem::path& name,
                  std::ostream& stream, const std::filesystem::path& patch_name) {
  const auto hashes = write_hashed(base, patch.patches, &stream);
  if (!stream) return;  // who opened the stream says what went wrong
  if (hashes.base != patch.base_hash) refuse_content(name, patch_name);
  if (hashes.result == patch.result_hash) return;
  fail("{}: does not give the file that it was made for; it is damaged, fetch it again", patch_name.string());
}

}  // namespace normtweak::formats
