#include "normtweak/text/utf8.h"

#include <algorithm>
#include <cstdint>

namespace normtweak::text {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

std::uint8_t byte_at(std::string_view text, std::size_t at) { return static_cast<std::uint8_t>(text[at]); }

// What may follow a lead byte. Only the second byte has a special range, which excludes overlong forms, surrogates and
// code points beyond U+10FFFF (Unicode standard, table 3-7).
struct Lead {
  std::size_t length = 0;  // of the whole sequence; 0: no sequence starts with this byte
  std::uint8_t second_low = 0x80, second_high = 0xBF;
};

Lead lead_of(std::uint8_t byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {2};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {3};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  if (byte >= 0xF1 && byte <= 0xF3) return {4};
  return {};
}

}  // namespace

CodePoint code_point_at(std::string_view text, std::size_t at) {
  const auto first = byte_at(text, at);
  if (first < 0x80) return {first, 1, true};
  const auto lead = lead_of(first);
  if (lead.length == 0) return {kReplacement, 1, false};
  char32_t value = first & (0x7FU >> lead.length);
  for (std::size_t i = 1; i < lead.length; ++i) {
    const std::uint8_t low = i == 1 ? lead.second_low : 0x80, high = i == 1 ? lead.second_high : 0xBF;
    const bool continues = at + i < text.size() && byte_at(text, at + i) >= low && byte_at(text, at + i) <= high;
    if (!continues) return {kReplacement, i, false};
    value = (value << 6) | (byte_at(text, at + i) & 0x3FU);
  }
  return {value, lead.length, true};
}

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
      append_utf8(storage, kReplacement);
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
