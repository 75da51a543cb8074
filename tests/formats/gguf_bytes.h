// The parts of a GGUF file, put together by hand: formats/gguf.h draws their bytes.
#pragma once
#include <string>
#include <vector>

#include "formats/support.h"

namespace normtweak::formats::gguf_bytes {

// A length and the bytes.
inline std::string gguf_text(const std::string& value) { return raw(std::uint64_t{value.size()}) + value; }

inline std::string start(std::uint64_t tensors, std::uint64_t keys, std::uint32_t version = 3) {
  return "GGUF" + raw(version) + raw(tensors) + raw(keys);
}

inline std::string key(const std::string& name, std::uint32_t type, const std::string& value) {
  return gguf_text(name) + raw(type) + value;
}

// `extents`: innermost first, as in the file.
inline std::string tensor(const std::string& name, const std::vector<std::uint64_t>& extents, std::uint32_t type,
                          std::uint64_t offset) {
  auto bytes = gguf_text(name) + raw(static_cast<std::uint32_t>(extents.size()));
  for (const auto extent : extents) bytes += raw(extent);
  return bytes + raw(type) + raw(offset);
}

// The header up to where data begin, and so many bytes of data.
inline std::string with_data(std::string header, std::size_t data_bytes) {
  header.resize((header.size() + 31) / 32 * 32, '\0');
  return header + std::string(data_bytes, '\1');
}

}  // namespace normtweak::formats::gguf_bytes
