// From words to ids: the `model` of tokenizer.json. Each kind is a file of its own.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/text/json_part.h"
#include "normtweak/text/vocabulary.h"
#include "normtweak/text/word_cache.h"

namespace normtweak::text {

class WordEncoder {
 public:
  WordEncoder() = default;
  WordEncoder(const WordEncoder&) = delete;
  WordEncoder& operator=(const WordEncoder&) = delete;
  virtual ~WordEncoder() = default;

  // Appends the ids of words. Thread-safe. Throws Error for a word that the model has no ids for.
  void encode(const std::vector<std::string_view>& words, std::vector<std::int64_t>& ids) const;

 protected:
  virtual void encode_word(std::string_view word, std::vector<std::int64_t>& ids) const = 0;  // overwrites ids

  // The same character at the start of a part and not at the end of the one before it: a word that is cut there has the
  // ids of its parts. Empty: words are never cut. A text whose words are not split would miss the cache.
  std::string cut_before_;

 private:
  std::size_t part_length(std::string_view word) const;

  mutable std::mutex mutex_;
  mutable WordCache cache_;  // guarded by mutex_
};

// How the words are given that the pre-tokenizer makes.
enum class Spelling : std::uint8_t {
  text,   // as UTF-8
  bytes,  // as bytes that stand for their characters in the byte-level alphabet
};

// Returns `model`, the part of that name in tokenizer.json. Throws Error for a type that is not supported, and for
// settings that make the ids random.
JsonPart check_model(const JsonPart& model);

// Whether words may be given to the model as bytes, which is faster: it has no use for the characters themselves.
bool takes_bytes(const JsonPart& model);

// `model` must have been checked, and `vocabulary` be that of its `vocab`. Throws Error if they do not fit.
std::unique_ptr<const WordEncoder> make_word_encoder(const JsonPart& model, const Vocabulary& vocabulary,
                                                     Spelling spelling);

}  // namespace normtweak::text
