// GGUF gives the pre-tokenizer by name, in tokenizer.ggml.pre; this table defines the names.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "normtweak/text/json_part.h"

namespace normtweak::text {

struct GgufPreTokenizer {
  std::string_view name;                                      // value of tokenizer.ggml.pre
  std::span<const std::string_view> regexes = {};             // applied in order; matches are isolated
  bool gpt2_regex = false;                                    // then GPT-2's, as in a ByteLevel pre-tokenizer
  std::span<const std::string_view> byte_level_regexes = {};  // last, on what is spelled in the byte-level alphabet
  bool nfc = false;            // the text is normalised first; as in the originals, GGUF does not record it
  bool ignore_merges = false;  // a word that is a token as a whole is not merged
  bool add_bos = false;        // if tokenizer.ggml.add_bos_token is missing
};

// Null if the name is not in the table.
const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name);

// The first row of the table that splits text as this tokenizer.json of byte-level BPE does. Throws Error naming the
// part that no row has, or saying that there is no such row.
const GgufPreTokenizer& gguf_pre_tokenizer_of(const JsonPart& document);

// Regexes for other steps of a tokenizer.json: each digit, runs of digits, runs of punctuation.
inline constexpr std::string_view kEachDigit = R"(\p{N})", kDigitRuns = R"(\p{N}+)",
                                  kPunctuationRuns = R"([\p{P}!-/:-@\[-`{-~]+)";

// All rows, in the order of the table.
std::span<const GgufPreTokenizer> gguf_pre_tokenizers();
std::string gguf_pre_tokenizer_names();  // "default, gpt-2, ..."

}  // namespace normtweak::text
