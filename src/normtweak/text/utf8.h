// Lenient UTF-8 decoding: text files may hold any bytes, while the regexes and the normaliser need valid text.
#pragma once
#include <string>
#include <string_view>

#include "normtweak/base/strings/utf8.h"

namespace normtweak::text {

void append_utf8(std::string& text, char32_t code_point);

// Returns valid text unchanged, as a view of the input. Otherwise fills `storage` with the text, each malformed
// sequence replaced by U+FFFD as Python's errors="replace" does, and returns a view of `storage`.
std::string_view valid_utf8(std::string_view text, std::string& storage);

bool is_ascii(std::string_view text);

}  // namespace normtweak::text
