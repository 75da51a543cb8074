// Quantifiers of Oniguruma's regexes.
#pragma once
#include <optional>
#include <string>

#include "normtweak/text/regex_cursor.h"

namespace normtweak::text {

struct RegexRepeat {
  std::string text;    // for PCRE2
  bool greedy = true;  // neither lazy nor possessive
};

// Possessive are ?+, *+ and ++, whereas {n,m}+ repeats a repeat; {n}? is a repeat that may be absent; {,n} starts at 0.
// nullopt, with nothing taken, if no quantifier follows: a brace that is none means itself.
std::optional<RegexRepeat> read_repeat(RegexCursor& cursor);

}  // namespace normtweak::text
