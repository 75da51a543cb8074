// Normalizers that look at one character at a time.
#pragma once
#include <string>
#include <string_view>

namespace normtweak::text {

// All take and return valid UTF-8. is_first: cleared if the first character is left out.

// SentencePiece's NMT rules: control characters are left out, odd white space becomes a space.
std::string nmt(std::string_view text, bool& is_first);

std::string lowercase(std::string_view text);  // without regard to neighbours: Σ always becomes σ

// Without marks: all of them, or non-spacing ones alone.
std::string without_marks(std::string_view text, bool& is_first);
std::string without_nonspacing_marks(std::string_view text, bool& is_first);

// BERT's: without control characters, and with spaces for white space.
std::string bert_clean(std::string_view text, bool& is_first);
std::string with_spaces_around_ideographs(std::string_view text);

}  // namespace normtweak::text
