#include "normtweak/text/character_maps.h"

#include <utf8proc.h>

#include <cstdint>

#include "normtweak/text/characters.h"
#include "normtweak/text/utf8.h"

namespace normtweak::text {
namespace {

constexpr bool between(char32_t point, char32_t low, char32_t high) { return point >= low && point <= high; }

auto category(char32_t point) { return utf8proc_category(static_cast<utf8proc_int32_t>(point)); }

// Appends what `put(point, character, result)` makes of each character; it returns false for those left out.
template <class Put>
std::string map(std::string_view text, bool& is_first, Put put) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const auto point = code_point_at(text, at);
    const bool is_kept = put(point.value, text.substr(at, point.length), result);
    if (at == 0 && !is_kept) is_first = false;
    at += point.length;
  }
  return result;
}

bool is_nmt_control(char32_t point) {
  return between(point, 0x01, 0x08) || point == 0x0B || between(point, 0x0E, 0x1F) || point == 0x7F || point == 0x8F ||
         point == 0x9F;
}

bool is_nmt_space(char32_t point) {
  return point == 0x09 || point == 0x0A || point == 0x0C || point == 0x0D || point == 0x1680 ||
         between(point, 0x200B, 0x200F) || point == 0x2028 || point == 0x2029 || point == 0x2581 || point == 0xFEFF ||
         point == 0xFFFD;
}

bool is_mark(char32_t point) {
  const auto kind = category(point);
  return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_MC || kind == UTF8PROC_CATEGORY_ME;
}

bool is_bert_control(char32_t point) {
  if (point == '\t' || point == '\n' || point == '\r') return false;
  const auto kind = category(point);
  return kind == UTF8PROC_CATEGORY_CC || kind == UTF8PROC_CATEGORY_CF || kind == UTF8PROC_CATEGORY_CO;
}

bool is_ideograph(char32_t point) {
  return between(point, 0x4E00, 0x9FFF) || between(point, 0x3400, 0x4DBF) || between(point, 0x20000, 0x2A6DF) ||
         between(point, 0x2A700, 0x2B73F) || between(point, 0x2B740, 0x2B81F) || between(point, 0x2B920, 0x2CEAF) ||
         between(point, 0xF900, 0xFAFF) || between(point, 0x2F800, 0x2FA1F);
}

template <class Test>
std::string without(std::string_view text, bool& is_first, Test test) {
  return map(text, is_first, [&](char32_t point, std::string_view character, std::string& result) {
    if (test(point)) return false;
    result += character;
    return true;
  });
}

}  // namespace

std::string nmt(std::string_view text, bool& is_first) {
  return map(text, is_first, [](char32_t point, std::string_view character, std::string& result) {
    if (is_nmt_control(point)) return false;
    result += is_nmt_space(point) ? " " : character;
    return true;
  });
}

std::string lowercase(std::string_view text) {
  constexpr char32_t kDottedI = 0x130, kDotAbove = 0x307;  // the only letter that becomes two
  bool is_first = true;
  return map(text, is_first, [](char32_t point, std::string_view /*character*/, std::string& result) {
    append_utf8(result, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(point))));
    if (point == kDottedI) append_utf8(result, kDotAbove);
    return true;
  });
}

std::string without_marks(std::string_view text, bool& is_first) { return without(text, is_first, is_mark); }

std::string without_nonspacing_marks(std::string_view text, bool& is_first) {
  return without(text, is_first, [](char32_t point) { return category(point) == UTF8PROC_CATEGORY_MN; });
}

std::string bert_clean(std::string_view text, bool& is_first) {
  return map(text, is_first, [](char32_t point, std::string_view character, std::string& result) {
    if (point == 0 || point == 0xFFFD || is_bert_control(point)) return false;
    result += is_white_space(point) ? " " : character;
    return true;
  });
}

std::string with_spaces_around_ideographs(std::string_view text) {
  bool is_first = true;
  return map(text, is_first, [](char32_t point, std::string_view character, std::string& result) {
    const auto* const beside = is_ideograph(point) ? " " : "";
    result.append(beside).append(character).append(beside);
    return true;
  });
}

}  // namespace normtweak::text
