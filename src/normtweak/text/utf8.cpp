#include "normtweak/text/utf8.h"

#include <algorithm>
#include <cstdint>

namespace normtweak::text {
void append_utf8(std::string& text, char32_t code_point) {
  const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xC0 | (code_point >> 6));
    put(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    put(0xE0 | (code_point >> 12));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  } else {
    put(0xF0 | (code_point >> 18));
    put(0x80 | ((code_point >> 12) & 0x3F));
    put(0x80 | ((code_point >> 6) & 0x3F));
    put(0x80 | (code_point & 0x3F));
  }
}

std::string_view valid_utf8(std::string_view text, std::string& storage) {
  std::size_t kept = 0;  // everything before is in `storage`, if anything was malformed so far
  bool replaced = false;
  for (std::size_t at = 0; at < text.size();) {
    const auto point = code_point_at(text, at);
    if (!point.valid) {
      if (!replaced) storage.clear();
      replaced = true;
      storage.append(text.substr(kept, at - kept));
      append_utf8(storage, point.value);  // U+FFFD
      kept = at + point.length;
    }
    at += point.length;
  }
  if (!replaced) return text;
  storage.append(text.substr(kept));
  return storage;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<std::uint8_t>(c) < 0x80; });
}

}  // namespace normtweak::text
