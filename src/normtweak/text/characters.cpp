#include "normtweak/text/characters.h"

#include <utf8proc.h>

#include <cstdint>

#include "normtweak/text/utf8.h"

namespace normtweak::text {
namespace {

constexpr bool between(char32_t point, char32_t low, char32_t high) { return point >= low && point <= high; }

// Circled and squared letters: symbols by category, alphabetic by property.
constexpr bool is_enclosed_letter(char32_t point) {
  return between(point, 0x24B6, 0x24E9) || between(point, 0x1F130, 0x1F149) || between(point, 0x1F150, 0x1F169) ||
         between(point, 0x1F170, 0x1F189);
}

std::size_t last_character(std::string_view text) {  // index of its first byte
  std::size_t at = text.size() - 1;
  while (at > 0 && (static_cast<std::uint8_t>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

}  // namespace

bool is_white_space(char32_t point) {
  return between(point, 0x09, 0x0D) || point == 0x20 || point == 0x85 || point == 0xA0 || point == 0x1680 ||
         between(point, 0x2000, 0x200A) || point == 0x2028 || point == 0x2029 || point == 0x202F || point == 0x205F ||
         point == 0x3000;
}

bool is_word(char32_t point) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(point))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return is_enclosed_letter(point) || between(point, 0x200C, 0x200D);
  }
}

std::size_t leading_white_space(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const auto point = code_point_at(text, at);
    if (!is_white_space(point.value)) break;
    at += point.length;
  }
  return at;
}

std::size_t trailing_white_space(std::string_view text) {
  std::size_t kept = text.size();
  while (kept > 0) {
    const auto at = last_character(text.substr(0, kept));
    if (!is_white_space(code_point_at(text, at).value)) break;
    kept = at;
  }
  return text.size() - kept;
}

bool starts_with_word(std::string_view text) { return !text.empty() && is_word(code_point_at(text, 0).value); }

bool ends_with_word(std::string_view text) {
  return !text.empty() && is_word(code_point_at(text, last_character(text)).value);
}

bool is_blank(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto point = code_point_at(text, at);
    if (!is_white_space(point.value) && !between(point.value, 0x1C, 0x1F)) return false;
    at += point.length;
  }
  return true;
}

}  // namespace normtweak::text
