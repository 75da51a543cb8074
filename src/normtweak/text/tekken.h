// Mistral's tekken.json: tokens by rank as in tiktoken's file (tiktoken_vocabulary.h), the pattern and the special
// tokens, which have the first ids:
//
//     {"config": {"pattern": ..., "default_vocab_size": ..., "default_num_special_tokens": ...},
//      "vocab": [{"rank": 0, "token_bytes": "AA==", ...}, ...], "special_tokens": [{"rank": 0, "token_str": "<unk>",
//      ...}]}
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace normtweak::text {

struct Tekken {
  std::string pattern;
  std::vector<std::string> special;  // by id; filled up with <SPECIAL_id> as the file asks for
  std::vector<std::string> ranked;   // bytes by rank, without what is beyond the size that the file names
};

// Throws Error naming `origin` and the part. Early files, which do not list their special tokens, are refused.
Tekken read_tekken(std::string_view content, std::string_view origin);

}  // namespace normtweak::text
