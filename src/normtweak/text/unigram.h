// The unigram language model of SentencePiece: of all ways to cut a word into tokens, the one with the largest sum of
// scores.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "normtweak/text/byte_tokens.h"
#include "normtweak/text/token_automaton.h"
#include "normtweak/text/word_encoder.h"

namespace normtweak::text {

class Unigram : public WordEncoder {
 public:
  // `model` must have been checked: {"vocab": [["token", score], ...], "unk_id": ..., "byte_fallback": ...}. Throws
  // Error for a score that is no number, and for an unk_id that is not an id.
  Unigram(const JsonPart& model, const Vocabulary& vocabulary, Spelling spelling);

 private:
  struct Step;
  void encode_word(std::string_view word, std::vector<std::int64_t>& ids) const override;
  void find_best_paths(std::string_view word, std::vector<Step>& steps) const;
  void append(std::string_view piece, std::vector<std::int64_t>& ids) const;
  std::int64_t unknown_id() const;

  const Vocabulary& vocabulary_;
  TokenAutomaton tokens_;
  std::vector<double> scores_;  // by id
  double unknown_score_ = 0;    // of a character that is no token
  std::optional<std::int64_t> unknown_id_;
  std::optional<ByteTokens> fallback_;  // for what is unknown
};

}  // namespace normtweak::text
