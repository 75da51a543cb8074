// Character classes, as defined by the regexes and by Python's strings.
#pragma once
#include <cstddef>
#include <string_view>

namespace normtweak::text {

bool is_white_space(char32_t point);  // the Unicode property, \s of the regexes
bool is_word(char32_t point);         // \w of Unicode's regex report: alphabetic, marks, digits, connectors, joiners

// The text must be valid UTF-8. Bytes of white space at the start and at the end:
std::size_t leading_white_space(std::string_view text);
std::size_t trailing_white_space(std::string_view text);

bool starts_with_word(std::string_view text);
bool ends_with_word(std::string_view text);

// True if Python's str.strip() leaves nothing: it also strips the separators U+001C..U+001F.
bool is_blank(std::string_view text);

}  // namespace normtweak::text
