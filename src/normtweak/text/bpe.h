// Byte-level byte-pair encoding: from words to ids.
#pragma once
#include <array>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "normtweak/text/json_part.h"
#include "normtweak/text/merges.h"
#include "normtweak/text/vocabulary.h"
#include "normtweak/text/word_cache.h"

namespace normtweak::text {

class Bpe {
 public:
  // Returns `model`, the part of that name in tokenizer.json. Throws Error for any type but BPE, and for features that
  // byte-level models do not have: dropout, subword prefixes and suffixes, byte_fallback.
  static JsonPart check(const JsonPart& model);

  // `model` must have been checked. Throws Error if its merges do not fit the vocabulary.
  Bpe(const JsonPart& model, const Vocabulary& vocabulary);

  // Appends the ids of words given as bytes. Thread-safe.
  void encode(const std::vector<std::string_view>& words, std::vector<std::int64_t>& ids) const;

 private:
  void read_unknown_token(const JsonPart& model, const Vocabulary& vocabulary);
  void encode_word(std::string_view word, std::vector<std::int64_t>& ids) const;  // overwrites ids
  void spell(std::string_view word, std::vector<std::int64_t>& ids) const;

  Merges merges_;
  std::array<std::int64_t, 256> byte_ids_ = {};  // -1 if the vocabulary lacks the byte
  std::int64_t unknown_id_ = -1;                 // for missing bytes; -1: they are dropped
  bool fuse_unknown_ = false;                    // one unknown token for a run of missing bytes
  std::unordered_map<std::string, std::int64_t, StringHash, std::equal_to<>> whole_words_;  // with ignore_merges

  mutable std::mutex mutex_;
  mutable WordCache cache_;  // guarded by mutex_
};

}  // namespace normtweak::text
