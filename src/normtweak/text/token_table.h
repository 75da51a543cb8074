// A set of strings that is matched against a text in one pass.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "normtweak/text/regex.h"
#include "normtweak/text/token_automaton.h"

namespace normtweak::text {

// Short keys are a sorted list, in which each byte of the text narrows the range of keys that still match: an automaton
// takes 16 bytes for every byte of a key, and there may be a million. Long ones, of which nobody has many, are an
// automaton: to compare them at every place would take the product of their size and the text's.
class TokenTable {
 public:
  using Entry = TokenAutomaton::Entry;  // key and value

  struct Match {
    Span span;
    std::int64_t value = 0;
  };

  static constexpr std::size_t kLongestShort = 128;                    // bytes
  static constexpr std::size_t kMostLongBytes = std::size_t{8} << 20;  // of all long keys

  TokenTable() = default;
  // The keys must outlive the table. An empty key is ignored; of equal keys the first wins. Throws Error for long keys
  // of more than kMostLongBytes.
  explicit TokenTable(std::vector<Entry> entries);

  // A text, asked from left to right.
  class Search {
   public:
    Search(const TokenTable& table, std::string_view text);

    // The longest key that begins there, an empty span if none does. `at`: no less than in the call before.
    Match longest_at(std::size_t at);

   private:
    const TokenTable& table_;
    std::string_view text_;
    std::vector<Match> long_matches_;  // from the last place to the first
  };

  // Leftmost-longest, non-overlapping matches.
  std::vector<Match> find_all(std::string_view text) const;

 private:
  Match longest_short_at(std::string_view text, std::size_t at) const;

  std::vector<Entry> short_;
  std::array<bool, 256> starts_ = {};  // first bytes of short keys, for fast skipping
  TokenAutomaton long_;                // reads backward: it then knows all that begins at a place
};

}  // namespace normtweak::text
