// The keys of a GGUF file: which values are read at once, and which stay in the file.
#include "normtweak/base/error.h"
#include "normtweak/formats/byte_cursor.h"
#include "normtweak/formats/gguf.h"
#include "normtweak/formats/gguf_metadata.h"

namespace normtweak::formats {
namespace {

constexpr std::uint64_t kSmallestKey = 8 + 4 + 1;    // length of the name, type, a byte
constexpr std::uint64_t kMostKeys = 4096;            // real files have fewer than 100
constexpr std::uint64_t kMostMetadata = 64 << 20;    // bytes in memory, long arrays not counted
constexpr std::uint64_t kMostArrayValues = 1 << 20;  // of a vocabulary, or of its merges
constexpr std::uint64_t kMostBytesOfValue = 64;      // of a JSON array, beside the text of strings

}  // namespace

void GgufFile::parse_metadata(ByteCursor& cursor, std::uint64_t count) {
  cursor.count(count, kSmallestKey, "keys");
  if (count > kMostKeys) fail("{}: {} keys are announced, at most {} are read", origin_, count, kMostKeys);
  std::vector<Json::object_t::value_type>& rows = metadata_.get_ref<Json::object_t&>();
  rows.reserve(count);
  std::uint64_t bytes = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto begin = cursor.position();
    const auto key = cursor.name("the name of a key");
    if (stored_keys_.contains(key)) fail("{}: key {} occurs twice; the file is damaged", origin_, key);
    const auto start = cursor.position();
    auto value = read_value(cursor, key);
    keys_.push_back(key);
    stored_keys_.emplace(key, bytes_.subspan(start, cursor.position() - start));
    if (!value.is_null()) bytes += cursor.position() - begin + kMostBytesOfValue * value.size();
    if (bytes > kMostMetadata) {
      fail("{}: key {}: up to it, the metadata fill more than {} bytes of memory, which are not read", origin_, key,
           kMostMetadata);
    }
    rows.emplace_back(key, std::move(value));
  }
}

std::span<const std::byte> GgufFile::stored_key(const std::string& key) const {
  const auto found = stored_keys_.find(key);
  if (found == stored_keys_.end()) fail("{}: has no key {}", origin_, key);
  return found->second;
}

// Null in the place of a long array.
Json GgufFile::read_value(ByteCursor& cursor, const std::string& key) {
  constexpr std::size_t kLongArrayBytes = 1 << 20;
  const auto type = cursor.number<std::uint32_t>(key);
  if (type != kGgufArray) return read_gguf_value(cursor, type, key);
  auto start = cursor;
  const auto values = skip_gguf_array(cursor, key);
  if (values <= kLongArray && cursor.position() - start.position() <= kLongArrayBytes) {
    return read_gguf_value(start, type, key);
  }
  long_arrays_.emplace(key, LongArray{start.position(), values});
  return nullptr;
}

Json GgufFile::metadata_with_arrays(std::string_view prefix) const {
  Json all = metadata_;
  std::uint64_t total = 0;
  for (auto& [key, value] : all.items()) {
    const auto found = long_arrays_.find(key);
    if (found == long_arrays_.end() || !key.starts_with(prefix)) continue;
    const auto values = found->second.values;
    total += values;
    if (values > kMostArrayValues || total > 2 * kMostArrayValues) {
      fail("{}: key {}: {} values are more than any vocabulary has; at most {} are read, and twice as many in all",
           origin_, key, values, kMostArrayValues);
    }
    ByteCursor cursor(bytes_, origin_);
    cursor.take(found->second.position, key);
    value = read_gguf_value(cursor, kGgufArray, key);
  }
  return all;
}

}  // namespace normtweak::formats
