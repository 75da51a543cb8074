// Regexes of tokenizer.json are read by Oniguruma, in its Ruby-like syntax; this translates them for PCRE2.
//
// Both programs accept most patterns, but read many differently without a word: {n}+ repeats a group in one and forbids
// backtracking in the other; (?m) lets the dot match newlines in one and moves ^ and $ in the other. The translator
// therefore parses the whole pattern and writes a new one. It never copies what it does not know.
//
// Not translated, but refused by name: subexpression calls \g, \K, \G, \X, text segments \y, absent operators (?~...),
// conditionals, callouts, options other than i, m and x, raw bytes, stacked lazy or possessive quantifiers, and, where
// case is ignored, letters that equal several letters (ß = ss). What PCRE2 cannot compile (lookbehind of unlimited
// length, scripts that it does not know) is refused when it tries to.
#pragma once
#include <string>
#include <string_view>

namespace normtweak::text {

// Returns a pattern that makes PCRE2 match what Oniguruma would. Throws Error naming what cannot be translated.
std::string to_pcre2(std::string_view pattern);

}  // namespace normtweak::text
