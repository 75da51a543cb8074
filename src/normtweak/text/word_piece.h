// BERT's model: a word is the longest token that it begins with, then the longest with a prefix (##), and so on. A word
// that has no such tokens, or too many characters, is one unknown token.
#pragma once
#include <cstddef>
#include <string>

#include "normtweak/text/token_table.h"
#include "normtweak/text/word_encoder.h"

namespace normtweak::text {

class WordPiece : public WordEncoder {
 public:
  // `model` must have been checked. Throws Error if the unknown token is not in the vocabulary.
  WordPiece(const JsonPart& model, const Vocabulary& vocabulary, Spelling spelling);

 private:
  void encode_word(std::string_view word, std::vector<std::int64_t>& ids) const override;

  TokenTable tokens_;      // at the start of a word
  TokenTable continuing_;  // after it: those with the prefix, without it
  std::int64_t unknown_id_ = -1;
  std::size_t most_characters_ = 0;  // of a word
};

}  // namespace normtweak::text
