// What a backslash introduces in Oniguruma's regexes, within a class or outside: sets and characters.
#pragma once
#include <optional>
#include <string>

#include "normtweak/text/regex_cursor.h"

namespace normtweak::text {

// The set that an escape such as \d or \p{L} stands for; the cursor stands after the backslash and is moved only if
// there is one.
struct CharacterSet {
  std::string members;  // of a PCRE2 class
  bool negated = false;
};
std::optional<CharacterSet> read_set_escape(RegexCursor& cursor);

// The set as an expression of its own.
std::string written(const CharacterSet& set);

// The character that an escape such as \n or \x41 stands for; the cursor is left after it. A letter without a meaning
// stands for itself.
char32_t read_character_escape(RegexCursor& cursor);

// A character, spelled so that it means itself everywhere.
std::string literal(char32_t point);

}  // namespace normtweak::text
