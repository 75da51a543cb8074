#include "normtweak/formats/gguf_metadata.h"

#include <array>

namespace normtweak::formats {
namespace {

constexpr int kDeepest = 4;  // nesting of arrays; real models have none

template <class Number>
Json read_number(ByteCursor& cursor, const std::string& key) {
  return cursor.number<Number>(key);
}

struct ValueType {
  std::uint32_t id;
  std::uint64_t smallest;  // minimum size of a value in bytes
  Json (*read)(ByteCursor&, const std::string& key);
};

const std::array<ValueType, 12> kValueTypes = {{
    {gguf_type<std::uint8_t>(), 1, &read_number<std::uint8_t>},
    {gguf_type<std::int8_t>(), 1, &read_number<std::int8_t>},
    {gguf_type<std::uint16_t>(), 2, &read_number<std::uint16_t>},
    {gguf_type<std::int16_t>(), 2, &read_number<std::int16_t>},
    {gguf_type<std::uint32_t>(), 4, &read_number<std::uint32_t>},
    {gguf_type<std::int32_t>(), 4, &read_number<std::int32_t>},
    {gguf_type<float>(), 4, &read_number<float>},
    {gguf_type<bool>(), 1,
     [](ByteCursor& cursor, const std::string& key) -> Json { return cursor.number<std::uint8_t>(key) != 0; }},
    {kGgufText, 8, [](ByteCursor& cursor, const std::string& key) -> Json { return cursor.text(key); }},
    {gguf_type<std::uint64_t>(), 8, &read_number<std::uint64_t>},
    {gguf_type<std::int64_t>(), 8, &read_number<std::int64_t>},
    {gguf_type<double>(), 8, &read_number<double>},
}};

const ValueType& find_type(const ByteCursor& cursor, std::uint32_t type, const std::string& key) {
  const auto* row = std::ranges::find(kValueTypes, type, &ValueType::id);
  if (row == kValueTypes.end())
    fail("{}: key {}: value type {} is unknown; the file is damaged", cursor.origin(), key, type);
  return *row;
}

struct ArrayStart {
  std::uint32_t type;
  std::uint64_t count;
};

ArrayStart read_start(ByteCursor& cursor, const std::string& key, int depth) {
  if (depth > kDeepest) fail("{}: key {}: arrays are nested deeper than {}", cursor.origin(), key, kDeepest);
  const auto type = cursor.number<std::uint32_t>(key);
  const auto announced = cursor.number<std::uint64_t>(key);
  const std::uint64_t smallest = type == kGgufArray ? 12 : find_type(cursor, type, key).smallest;  // 12: type and count
  return {type, cursor.count(announced, smallest, fmt::format("values of key {}", key))};
}

Json read_value(ByteCursor& cursor, std::uint32_t type, const std::string& key, int depth) {
  if (type != kGgufArray) return find_type(cursor, type, key).read(cursor, key);
  const auto start = read_start(cursor, key, depth + 1);
  Json::array_t values;
  values.reserve(start.count);
  for (std::uint64_t i = 0; i < start.count; ++i) values.push_back(read_value(cursor, start.type, key, depth + 1));
  return values;
}

std::uint64_t skip_array(ByteCursor& cursor, const std::string& key, int depth) {
  const auto start = read_start(cursor, key, depth);
  if (start.type != kGgufArray && start.type != kGgufText) {
    cursor.take(start.count * find_type(cursor, start.type, key).smallest, key);  // fits, since the count does
    return start.count;
  }
  auto values = start.count;
  for (std::uint64_t i = 0; i < start.count; ++i) {
    if (start.type == kGgufArray) {
      values += skip_array(cursor, key, depth + 1);
    } else {
      cursor.take(cursor.number<std::uint64_t>(key), key);
    }
  }
  return values;
}

}  // namespace

Json read_gguf_value(ByteCursor& cursor, std::uint32_t type, const std::string& key) {
  return read_value(cursor, type, key, 0);
}

std::uint64_t skip_gguf_array(ByteCursor& cursor, const std::string& key) { return skip_array(cursor, key, 1); }

}  // namespace normtweak::formats
