#include "normtweak/text/regex_escapes.h"

#include <array>
#include <cstdint>
#include <utility>

#include "normtweak/text/regex_properties.h"

namespace normtweak::text {
namespace {

CharacterSet read_property(RegexCursor& cursor, bool negated) {
  if (!cursor.take("{")) cursor.refuse("a property without braces");
  negated ^= cursor.take("^");
  const auto rest = cursor.rest();
  const auto end = rest.find('}');
  if (end == std::string_view::npos) cursor.refuse("a property without its end");
  cursor.skip(end + 1);
  return {property_members(rest.substr(0, end)), negated};
}

char32_t control(RegexCursor& cursor) {
  const auto point = cursor.take_character();
  const bool is_letter = (point >= 'A' && point <= 'Z') || (point >= 'a' && point <= 'z');
  if (!is_letter) cursor.refuse("a control character that is not named by a letter");
  return point & 0x1F;
}

char32_t hexadecimal(RegexCursor& cursor) {
  constexpr std::string_view kWhat = "an unusual \\x";
  if (!cursor.take("{")) {
    const auto point = cursor.take_number(16, 2, kWhat);
    if (point >= 0x80) cursor.refuse("\\x80 or more, a byte within a character");
    return point;
  }
  const auto point = cursor.take_number(16, 6, kWhat);
  if (!cursor.take("}") || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) cursor.refuse(kWhat);
  return point;
}

}  // namespace

std::string written(const CharacterSet& set) { return fmt::format("[{}{}]", set.negated ? "^" : "", set.members); }

std::optional<CharacterSet> read_set_escape(RegexCursor& cursor) {
  struct Row {
    std::string_view letter, members;
  };
  const std::array<Row, 4> rows = {
      {{"d", R"(\p{Nd})"}, {"h", "0-9A-Fa-f"}, {"s", R"(\p{White_Space})"}, {"w", kWordEscape}}};
  for (const auto& [letter, members] : rows) {
    if (cursor.take(letter)) return CharacterSet{std::string(members), false};
    if (cursor.take(std::string(1, static_cast<char>(letter[0] - 'a' + 'A')))) {
      return CharacterSet{std::string(members), true};
    }
  }
  if (cursor.take("p")) return read_property(cursor, false);
  if (cursor.take("P")) return read_property(cursor, true);
  return std::nullopt;
}

char32_t read_character_escape(RegexCursor& cursor) {
  constexpr std::array<std::pair<std::string_view, char32_t>, 7> kNamed = {
      {{"t", 0x09}, {"v", 0x0B}, {"n", 0x0A}, {"r", 0x0D}, {"f", 0x0C}, {"a", 0x07}, {"e", 0x1B}}};
  for (const auto& [letter, point] : kNamed) {
    if (cursor.take(letter)) return point;
  }
  if (cursor.take("x")) return hexadecimal(cursor);
  if (cursor.take("u")) {
    const auto before = cursor.place();
    const auto point = cursor.take_number(16, 4, "an unusual \\u");
    if (cursor.place() != before + 4 || (point >= 0xD800 && point < 0xE000)) cursor.refuse("an unusual \\u");
    return point;
  }
  if (cursor.take("C-") || cursor.take("c")) return control(cursor);
  if (cursor.next_is("M") || cursor.next_is("C") || cursor.next_is("o{")) cursor.refuse("an unusual escape");
  if (cursor.next_is("0") || cursor.next_is("1") || cursor.next_is("2") || cursor.next_is("3")) {
    const auto point = cursor.take_number(8, 3, "an octal number");
    if (point >= 0x80) cursor.refuse("\\200 or more, a byte within a character");
    return point;
  }
  const auto point = cursor.take_character();
  if (point >= '4' && point <= '9') cursor.refuse("an octal number");
  return point;
}

std::string literal(char32_t point) {
  const bool is_alphanumeric =
      (point >= '0' && point <= '9') || (point >= 'A' && point <= 'Z') || (point >= 'a' && point <= 'z');
  std::string text;
  if (is_alphanumeric || point >= 0x80) {
    append_utf8(text, point);
  } else if (point > 0x20 && point < 0x7F) {
    text = {'\\', static_cast<char>(point)};
  } else {
    text = fmt::format("\\x{{{:X}}}", static_cast<std::uint32_t>(point));
  }
  return text;
}

}  // namespace normtweak::text
