// SentencePiece writes a space as U+2581, so that tokens show where words begin: the settings that pre-tokenizer and
// decoder of that name share.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/text/json_part.h"

namespace normtweak::text {

inline constexpr std::string_view kMetaspace = "\u2581";

// Where a space is put in front of a text that has none: never, at the start of the text alone, or also after tokens
// that were extracted from it.
enum class PrependScheme : std::uint8_t { never, first, always };

struct Metaspace {
  explicit Metaspace(const JsonPart& part);  // throws Error naming what is not supported

  // The text with its spaces written that way. is_first: it is the start of what was given.
  std::string spell(std::string_view text, bool is_first) const;

  std::string replacement;  // one character
  PrependScheme scheme = PrependScheme::always;
  bool split = true;  // each replacement begins a word
};

// Appends the parts of a text that begin at each `mark`, and what precedes the first.
void split_before(std::string_view text, std::string_view mark, std::vector<std::string_view>& parts);

}  // namespace normtweak::text
