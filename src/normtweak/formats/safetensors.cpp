#include "normtweak/formats/safetensors.h"

#include <algorithm>
#include <cstring>

#include "normtweak/base/error.h"
#include "normtweak/formats/keyed_json.h"
#include "normtweak/formats/safetensors_types.h"
#include "normtweak/formats/tensor_bytes.h"

namespace normtweak::formats {
namespace {

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kLongestHeader = 100'000'000;  // as in the reference implementation

struct Extent {
  std::uint64_t begin = 0, end = 0;  // counted from the end of the header
};

std::string_view header_text(std::span<const std::byte> bytes, std::string_view origin) {
  if (bytes.size() < kLengthBytes) {
    fail("{}: {} bytes are too few for a safetensors file; the download is probably incomplete", origin, bytes.size());
  }
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  const auto room = std::min<std::uint64_t>(bytes.size() - kLengthBytes, kLongestHeader);
  if (length > room) {
    fail("{}: a header of {} bytes is announced, at most {} are possible; not a safetensors file, or cut short", origin,
         length, room);
  }
  return {reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length};
}

Metadata parse_metadata(const KeyedJson& header, std::string_view origin) {
  Metadata metadata;
  const auto found = header.find("__metadata__");
  if (found == header.end() || found->is_null()) return metadata;
  if (!found->is_object()) fail("{}: __metadata__ must be an object, found {}", origin, found->type_name());
  for (const auto& [key, value] : found->items()) {
    if (!value.is_string()) fail("{}: __metadata__.{} must be text, found {}", origin, key, value.type_name());
    metadata.emplace(key, value.get<std::string>());
  }
  return metadata;
}

// Integers that fit i64; the JSON may hold 1.5, -1, 1e300 or text instead.
std::vector<std::int64_t> parse_numbers(const KeyedJson& description, const char* key, std::string_view where) {
  const auto found = description.find(key);
  if (found == description.end() || !found->is_array()) fail("{}: `{}` must be a list of whole numbers", where, key);
  std::vector<std::int64_t> numbers;
  for (const auto& value : *found) {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() >> 62 != 0) {
      fail("{}: `{}` must hold whole numbers from 0 to 2^62, found {}", where, key, value.dump());
    }
    numbers.push_back(value.get<std::int64_t>());
  }
  return numbers;
}

Extent parse_extent(const KeyedJson& description, std::uint64_t data_size, std::string_view where) {
  const auto offsets = parse_numbers(description, "data_offsets", where);
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    fail("{}: `data_offsets` must be [begin, end], found {}", where, description["data_offsets"].dump());
  }
  const auto begin = static_cast<std::uint64_t>(offsets[0]), end = static_cast<std::uint64_t>(offsets[1]);
  if (end > data_size) {
    fail("{}: ends at byte {} of the data, the file has {}; the download is probably incomplete", where, end,
         data_size);
  }
  return {begin, end};
}

void check_size(const std::string& type_name, at::IntArrayRef shape, const Extent& extent, std::string_view where) {
  const auto count = element_count(shape);
  if (!count) fail("{}: shape {} is larger than any memory", where, c10::str(shape));
  const auto type = safetensors_type(type_name);
  if (!type) return;  // read() refuses it
  const auto size = checked_product(*count, c10::elementSize(*type));
  if (!size || *size != extent.end - extent.begin) {
    fail("{}: shape {} of {} does not fill the {} bytes that `data_offsets` give it", where, c10::str(shape), type_name,
         extent.end - extent.begin);
  }
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(path), origin_(path.string()), bytes_(file_->bytes()) {
  parse();
}

SafetensorsFile::SafetensorsFile(std::span<const std::byte> bytes, std::string origin)
    : origin_(std::move(origin)), bytes_(bytes) {
  parse();
}

void SafetensorsFile::parse() {
  const auto text = header_text(bytes_, origin_);
  const auto header = parse_keyed_json(text, origin_ + ": header");
  const auto data = bytes_.subspan(kLengthBytes + text.size());
  metadata_ = parse_metadata(header, origin_);

  for (const auto& [name, description] : header.items()) {
    if (name == "__metadata__") continue;
    const auto where = fmt::format("{}: tensor {}", origin_, name);
    if (!description.is_object() || !description.contains("dtype") || !description["dtype"].is_string()) {
      fail("{}: must be an object with `dtype`, `shape` and `data_offsets`", where);
    }
    Entry entry{.type = description["dtype"], .shape = parse_numbers(description, "shape", where), .bytes = {}};
    const auto extent = parse_extent(description, data.size(), where);
    check_size(entry.type, entry.shape, extent, where);
    entry.bytes = data.subspan(extent.begin, extent.end - extent.begin);
    names_.push_back(name);
    entries_.emplace(name, std::move(entry));
  }

  const auto begin_of = [&](const std::string& name) { return entries_.at(name).bytes.data(); };
  const auto end_of = [&](const std::string& name) { return begin_of(name) + entries_.at(name).bytes.size(); };
  std::ranges::sort(names_, {},
                    [&](const std::string& name) { return std::tuple(begin_of(name), end_of(name), name); });
  const auto* end = data.data();
  for (const auto& name : names_) {
    if (begin_of(name) != end) {
      fail("{}: tensor {}: its data {}; the file is damaged", origin_, name,
           begin_of(name) < end ? "overlaps that of another tensor" : "begins after a hole");
    }
    end = end_of(name);
  }
  if (end != data.data() + data.size()) {
    fail("{}: {} bytes after the last tensor belong to none; the file is damaged", origin_,
         data.data() + data.size() - end);
  }
}

const SafetensorsFile::Entry& SafetensorsFile::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) fail("{}: has no tensor {} among its {}", origin_, name, names_.size());
  return found->second;
}

at::ScalarType SafetensorsFile::type_of(const std::string& name, const Entry& entry) const {
  const auto type = safetensors_type(entry.type);
  if (!type) fail("{}: tensor {}: type {} is not supported; convert it to BF16 first", origin_, name, entry.type);
  return *type;
}

TensorInfo SafetensorsFile::info(const std::string& name) const {
  const auto& found = entry(name);
  const auto type = type_of(name, found);
  return {type, found.shape, *safetensors_name(type), static_cast<std::int64_t>(found.bytes.size())};
}

at::Tensor SafetensorsFile::read(const std::string& name) const {
  const auto& found = entry(name);
  return tensor_over(found.bytes, type_of(name, found), found.shape);
}

}  // namespace normtweak::formats
