// A set of strings that is matched against a text in one pass.
#pragma once
#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "normtweak/text/regex.h"

namespace normtweak::text {

// A sorted list, in which each byte of the text narrows the range of keys that still match. A trie of nodes would take
// a hundred bytes for every byte of a key.
class TokenTable {
 public:
  using Entry = std::pair<std::string_view, std::int64_t>;  // key and value

  struct Match {
    Span span;
    std::int64_t value = 0;
  };

  TokenTable() = default;
  // The keys must outlive the table. An empty key is ignored; of equal keys the first wins.
  explicit TokenTable(std::vector<Entry> entries);

  // Leftmost-longest, non-overlapping matches.
  std::vector<Match> find_all(std::string_view text) const;

 private:
  Match longest_at(std::string_view text, std::size_t at) const;  // an empty span if nothing starts there

  std::vector<Entry> entries_;
  std::array<bool, 256> starts_ = {};  // first bytes of keys, for fast skipping
};

}  // namespace normtweak::text
