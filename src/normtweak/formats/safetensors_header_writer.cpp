#include "normtweak/formats/safetensors_header_writer.h"

#include <cstring>

#include "normtweak/base/json/json.h"

namespace normtweak::formats {

std::string safetensors_header_bytes(const std::vector<HeaderEntry>& entries,
                                     const std::map<std::string, std::string>& metadata) {
  constexpr std::size_t kAlignment = 8;  // of the data, for every dtype
  std::string text = "{";
  const auto add = [&](std::string_view key, const Json& value) {
    if (text.size() > 1) text += ',';
    text += Json(key).dump() + ':' + value.dump();
  };
  if (!metadata.empty()) add("__metadata__", metadata);
  std::uint64_t begin = 0;
  for (const auto& entry : entries) {
    const auto end = begin + entry.bytes;
    add(entry.name, {{"dtype", entry.type}, {"shape", entry.shape.vec()}, {"data_offsets", {begin, end}}});
    begin = end;
  }
  text += '}';
  text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  const std::uint64_t length = text.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + text;
}

}  // namespace normtweak::formats
