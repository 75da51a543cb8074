// The merges that a vocabulary of SentencePiece or tiktoken implies: it names none, but merges whatever two neighbours
// form a token.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/json/json.h"

namespace normtweak::text {

struct DerivedMerge {
  std::int32_t left = 0, right = 0;  // ids
};

// Which of two merges comes first.
enum class MergeOrder : std::uint8_t {
  score,  // that of the higher score, then the one with the longer left half
  id,     // that of the lower id, then the one with the shorter left half
  rank,   // that of the lower id, then the one whose left half has the lower id (tiktoken)
};

// tokens: all different. scores: one for each; read with MergeOrder::score alone. The order is that of transformers'
// generate_merges, with scores and without, and of its TikTokenConverter. Throws Error naming `origin` for a token of
// more than 1024 bytes: the time grows with the square of their lengths.
std::vector<DerivedMerge> derive_merges(std::span<const std::string> tokens, std::span<const double> scores,
                                        MergeOrder order, std::string_view origin);

// As tokenizer.json has them: "a b", or ["a", "b"] if a token has a space.
Json merges_as_json(std::span<const std::string> tokens, std::span<const DerivedMerge> merges);

}  // namespace normtweak::text
