// Whole words are tokens; others are one unknown token.
#pragma once
#include "normtweak/text/word_encoder.h"

namespace normtweak::text {

class WordLevel : public WordEncoder {
 public:
  // `model` must have been checked. Throws Error if the unknown token is not in the vocabulary.
  WordLevel(const JsonPart& model, const Vocabulary& vocabulary, Spelling spelling);

 private:
  void encode_word(std::string_view word, std::vector<std::int64_t>& ids) const override;

  const Vocabulary& vocabulary_;
  std::int64_t unknown_id_ = -1;
};

}  // namespace normtweak::text
