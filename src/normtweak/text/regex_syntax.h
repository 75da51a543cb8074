// Regexes of tokenizer.json use Oniguruma's Ruby syntax; this translates them for PCRE2.
#pragma once
#include <string>
#include <string_view>

namespace normtweak::text {

// Returns a pattern that makes PCRE2 match what Oniguruma would. Three differences are handled:
//   \s, \S   the Unicode property White_Space (PCRE2 adds U+180E)
//   \w, \b   words hold marks and connectors, but not all numbers (PCRE2 10.42: letters, numbers and _)
//   [a[bc]]  a class within a class is a union (PCRE2 reads a bracket)
// Throws Error for syntax that has no counterpart and would silently match something else: \h, \H, [^...] within a
// class, and && within a class.
std::string to_pcre2(std::string_view pattern);

}  // namespace normtweak::text
