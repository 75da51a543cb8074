// The merges of a BPE model, and their application to one word.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "normtweak/text/json_part.h"
#include "normtweak/text/vocabulary.h"

namespace normtweak::text {

class Merges {
 public:
  // ["a b", ...] or [["a", "b"], ...]. prefix: bytes at the start of a right half that the result leaves out. Throws
  // Error for a merge whose parts or result are not in the vocabulary.
  Merges(const JsonPart& part, const Vocabulary& vocabulary, std::size_t prefix);

  // Whether a result has a space of SentencePiece (metaspace.h) after another character.
  bool join_words() const { return join_words_; }

  // Merges adjacent pairs, lowest rank first and leftmost among equals, until no merge applies. O(n log n) for a word
  // of n ids.
  void apply(std::vector<std::int64_t>& ids) const;

 private:
  struct Merge {
    std::uint32_t rank = 0;  // the position in the file; the last one, if a merge is repeated
    std::int32_t result = 0;
  };
  struct Symbol;
  class Work;
  const Merge* find(std::int64_t left, std::int64_t right) const;

  struct Slot {
    std::uint64_t pair = kEmpty;  // left << 32 | right
    Merge merge;
  };
  static constexpr std::uint64_t kEmpty = 0xFFFFFFFFFFFFFFFF;
  std::size_t first_slot(std::uint64_t pair) const;
  void put(std::uint64_t pair, Merge merge);

  std::vector<Slot> slots_;  // a hash table of a power of two; more than half are empty
  bool join_words_ = false;
};

}  // namespace normtweak::text
