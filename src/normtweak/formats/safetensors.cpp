#include "normtweak/formats/safetensors.h"

#include <algorithm>
#include <cstring>

#include "normtweak/base/device/finite.h"
#include "normtweak/base/error.h"
#include "normtweak/base/files/file_kind.h"
#include "normtweak/base/files/out_of_memory.h"
#include "normtweak/formats/safetensors_types.h"
#include "normtweak/formats/tensor_bytes.h"

namespace normtweak::formats {
namespace {

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kLongestHeader = 100'000'000;  // as in the reference implementation

std::string_view header_text(std::span<const std::byte> bytes, std::string_view origin) {
  const std::string_view all(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::uint64_t length = 0;
  const auto room = std::min<std::uint64_t>(bytes.size() - std::min(bytes.size(), kLengthBytes), kLongestHeader);
  if (bytes.size() >= kLengthBytes) std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > 0 && length <= room) return all.substr(kLengthBytes, length);
  refuse_mistaken(all, Expected::safetensors, origin);
  if (bytes.size() < kLengthBytes) {
    fail("{}: {} bytes are too few for a safetensors file; the download is probably incomplete", origin, bytes.size());
  }
  fail("{}: a header of {} bytes is announced, at most {} are possible; not a safetensors file, or cut short", origin,
       length, room);
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(path), origin_(path.string()), bytes_(file_->bytes()) {
  within_memory(origin_, [&] { parse(); });
}

SafetensorsFile::SafetensorsFile(std::span<const std::byte> bytes, std::string origin)
    : origin_(std::move(origin)), bytes_(bytes) {
  parse();
}

void SafetensorsFile::parse() {
  const auto text = header_text(bytes_, origin_);
  data_ = bytes_.subspan(kLengthBytes + text.size());
  header_ = parse_safetensors_header(text, data_.size(), origin_);
  if (const auto twice = index_.build(names()))
    fail("{}: tensor {} occurs twice; the file is damaged", origin_, *twice);
}

const SafetensorsHeader::Tensor& SafetensorsFile::entry(const std::string& name) const {
  const auto place = index_.find(names(), name);
  if (!place) fail("{}: has no tensor {} among its {}", origin_, name, names().size());
  return header_.tensors[*place];
}

at::ScalarType SafetensorsFile::type_of(const std::string& name, const SafetensorsHeader::Tensor& entry) const {
  const auto type = safetensors_type(*entry.type);
  if (!type) {
    fail("{}: tensor {}: type {} is not supported; store weights as BF16 and token ids as I64", origin_, name,
         *entry.type);
  }
  return *type;
}

TensorInfo SafetensorsFile::info(const std::string& name) const {
  const auto& found = entry(name);
  const auto type = type_of(name, found);
  return {type, header_.shape(found).vec(), *safetensors_name(type),
          static_cast<std::int64_t>(found.end - found.begin)};
}

std::vector<BytePatch> SafetensorsFile::patch(const std::string& name, const at::Tensor& values) const {
  const auto& found = entry(name);
  const auto type = type_of(name, found);
  const auto stored = values.detach().cpu().to(type).contiguous();
  if (stored.nbytes() != found.end - found.begin) {
    fail("{}: tensor {}: {} bytes to write in the place of {}", origin_, name, stored.nbytes(),
         found.end - found.begin);
  }
  if (stored.is_floating_point() && !all_finite(stored)) {
    fail("{}: tensor {}: a new value does not fit {}", origin_, name, *safetensors_name(type));
  }
  const auto* bytes = static_cast<const std::byte*>(stored.const_data_ptr());
  const auto element = c10::elementSize(type);
  const auto start = static_cast<std::uint64_t>(data_.data() - bytes_.data());
  return {{.offset = start + found.begin,
           .stride = element,
           .width = element,
           .bytes = {bytes, bytes + stored.nbytes()},
           .file = origin_}};
}

at::Tensor SafetensorsFile::read(const std::string& name) const {
  const auto& found = entry(name);
  return tensor_over(data_.subspan(found.begin, found.end - found.begin), type_of(name, found), header_.shape(found));
}

}  // namespace normtweak::formats
