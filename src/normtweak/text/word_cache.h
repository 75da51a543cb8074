// Caches the ids of words: text repeats its words, so most are merged only once.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "normtweak/text/vocabulary.h"

namespace normtweak::text {

// Bounded: when full it is cleared, and frequent words soon return. Not thread-safe.
class WordCache {
 public:
  static constexpr std::size_t kLargestWord = 64;      // bytes; longer words hardly ever repeat
  static constexpr std::size_t kLargestCount = 65536;  // words

  std::optional<std::span<const std::int64_t>> find(std::string_view word) const {
    const auto row = places_.find(word);
    if (row == places_.end()) return std::nullopt;
    return std::span(ids_).subspan(row->second.begin, row->second.count);
  }

  void insert(std::string_view word, std::span<const std::int64_t> ids) {
    if (word.size() > kLargestWord) return;
    if (places_.size() >= kLargestCount) {
      places_.clear();
      ids_.clear();
    }
    places_.emplace(word, Place{ids_.size(), ids.size()});
    ids_.insert(ids_.end(), ids.begin(), ids.end());
  }

 private:
  struct Place {
    std::size_t begin = 0, count = 0;
  };
  std::unordered_map<std::string, Place, StringHash, std::equal_to<>> places_;
  std::vector<std::int64_t> ids_;
};

}  // namespace normtweak::text
