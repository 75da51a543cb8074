// Lenient UTF-8 decoding: text files may hold any bytes, while the regexes and the normaliser need valid text.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace normtweak::text {

struct CodePoint {
  char32_t value = 0;
  std::size_t length = 0;  // in bytes; for a malformed sequence, the bytes that one U+FFFD replaces
  bool valid = false;
};

// The code point that starts at `at`, which must be less than text.size().
CodePoint code_point_at(std::string_view text, std::size_t at);

void append_utf8(std::string& text, char32_t code_point);

// Returns valid text unchanged, as a view of the input. Otherwise fills `storage` with the text, each malformed
// sequence replaced by U+FFFD as Python's errors="replace" does, and returns a view of `storage`.
std::string_view valid_utf8(std::string_view text, std::string& storage);

bool is_ascii(std::string_view text);

}  // namespace normtweak::text
