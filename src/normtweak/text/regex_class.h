// Character classes of Oniguruma's regexes, [...], translated for PCRE2.
#pragma once
#include <string>

#include "normtweak/text/regex_cursor.h"

namespace normtweak::text {

// Unlike PCRE2's, a class may hold classes: [a[bc]] is a union, [a&&b] an intersection. What PCRE2 can write as one
// class becomes one; the rest becomes alternatives and lookaheads that match one character.
// The cursor stands after the opening bracket and is left after the closing one.
std::string translate_class(RegexCursor& cursor, bool ignore_case);

}  // namespace normtweak::text
