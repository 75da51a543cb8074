// UTF-8, read forgivingly: text files contain anything, the regexes and the normaliser need valid text.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace normtweak::text {

struct CodePoint {
  char32_t value = 0;
  std::size_t length = 0;  // bytes it takes; for a malformed sequence the bytes that one U+FFFD stands for
  bool valid = false;
};

// The code point that starts at `at`, which must be less than text.size().
CodePoint code_point_at(std::string_view text, std::size_t at);

void append_utf8(std::string& text, char32_t code_point);

// Valid text comes back as it is, a view of the input. Otherwise `storage` is filled with the text in which U+FFFD
// stands for each malformed sequence, as Python's errors="replace" does, and the view is of `storage`.
std::string_view valid_utf8(std::string_view text, std::string& storage);

bool is_ascii(std::string_view text);

}  // namespace normtweak::text
