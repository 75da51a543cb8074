// Byte-pair encoding: a word is spelled in characters or bytes, and neighbours are merged.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "normtweak/text/byte_tokens.h"
#include "normtweak/text/json_part.h"
#include "normtweak/text/merges.h"
#include "normtweak/text/vocabulary.h"
#include "normtweak/text/word_encoder.h"

namespace normtweak::text {

class Bpe : public WordEncoder {
 public:
  // Without byte_fallback, prefixes and suffixes the characters of the byte-level alphabet stand for nothing but bytes.
  static bool takes_bytes(const JsonPart& model);

  // `model` must have been checked. Throws Error if its merges do not fit the vocabulary.
  Bpe(const JsonPart& model, const Vocabulary& vocabulary, Spelling spelling);

 private:
  void read_unknown_token(const JsonPart& model);
  void read_whole_words();
  bool lacks_characters() const;
  std::optional<std::int64_t> find(std::string_view character, bool is_first, bool is_last) const;
  void encode_word(std::string_view word, std::vector<std::int64_t>& ids) const override;
  void spell(std::string_view word, std::vector<std::int64_t>& ids) const;

  const Vocabulary& vocabulary_;
  Spelling spelling_;
  std::string prefix_, suffix_;  // of characters that do not begin a word, and of the one that ends it
  Merges merges_;
  std::array<std::int64_t, 256> byte_ids_ = {};  // of the byte-level alphabet; -1 if the vocabulary lacks the byte
  std::optional<ByteTokens> fallback_;           // for characters that the vocabulary lacks
  std::int64_t unknown_id_ = -1;                 // for what is still missing; -1: it is dropped
  bool fuse_unknown_ = false;                    // one unknown token for a run of what is missing
  bool ignore_merges_ = false;                   // a word that is a token is not spelled
  std::unordered_map<std::string, std::int64_t, StringHash, std::equal_to<>> whole_words_;  // as bytes
};

}  // namespace normtweak::text
