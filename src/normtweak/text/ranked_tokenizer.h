// A tokenizer.json for a byte-level vocabulary that is given by ranks (tiktoken's, and Mistral's tekken.json), as
// transformers 5 makes it (TikTokenConverter, MistralConverter).
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/json/json.h"
#include "normtweak/text/added_tokens.h"

namespace normtweak::text {

struct RankedRules {
  std::string_view pattern;                   // of pieces that no merge crosses
  bool nfc = false;                           // the text is normalised first
  std::span<const std::string> special = {};  // with the first ids, before the ranks; in no merge
  std::span<const AddedToken> behind = {};    // that get the ids behind the ranks
};

// What transformers takes where nothing names a pattern: Llama 3's.
inline constexpr std::string_view kDefaultPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// ranked: the tokens' bytes by rank, all different. Without added tokens and special ones around a text. Throws Error
// naming `origin` if a special token is in the vocabulary, where `tokenizers` would give it that id.
Json ranked_tokenizer_json(const std::vector<std::string>& ranked, const RankedRules& rules, std::string_view origin);

}  // namespace normtweak::text
