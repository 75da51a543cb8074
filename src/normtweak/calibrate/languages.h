// Which tokens can start a text in a given language: recognised by script and, in Latin script, by common words.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/text/tokenizer.h"

namespace normtweak::calibrate {

// Supported language codes: "en", "zh", ...
std::vector<std::string_view> language_codes();

// Parses "en,zh". Throws Error listing the supported codes if one is unknown.
std::vector<std::string> parse_languages(const std::string& list);

// Ids of the tokens that are whole words (or, in scripts without spaces, characters) of one of `codes`.
// Throws Error listing the supported codes if one is unknown.
std::vector<std::int64_t> tokens_of_languages(const text::Tokenizer& tokenizer, const std::vector<std::string>& codes);

// Ids of all tokens that are not special and decode to valid text on their own.
std::vector<std::int64_t> ordinary_tokens(const text::Tokenizer& tokenizer);

// Ids of all special tokens.
std::vector<std::int64_t> special_tokens(const text::Tokenizer& tokenizer);

}  // namespace normtweak::calibrate
