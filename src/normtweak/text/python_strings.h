// Methods of Python's strings, for rules that other programs state in Python.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace normtweak::text {

std::string_view stripped(std::string_view text);  // str.strip(), of what matches \s

// str.replace(): from left to right, without overlaps. `from` must not be empty.
std::string replaced(std::string_view text, std::string_view from, std::string_view to);

// str.capitalize(): the first character in title case, all others in small letters, of those that map to one character.
std::string capitalized(std::string_view text);

std::int64_t length(std::string_view text);  // len(): characters, each malformed sequence counted as one

}  // namespace normtweak::text
