// Lenient decoding of UTF-8, one code point at a time.
#pragma once
#include <cstddef>
#include <string_view>

namespace normtweak {

struct CodePoint {
  char32_t value = 0;
  std::size_t length = 0;  // in bytes; for a malformed sequence, the bytes that one U+FFFD replaces
  bool valid = false;
};

// The code point that starts at `at`, which must be less than text.size().
CodePoint code_point_at(std::string_view text, std::size_t at);

}  // namespace normtweak
