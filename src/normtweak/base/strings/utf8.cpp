#include "normtweak/base/strings/utf8.h"

#include <cstdint>

namespace normtweak {
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

}  // namespace normtweak
