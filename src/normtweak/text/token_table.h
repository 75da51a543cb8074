// A set of strings that is matched against a text in one pass.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "normtweak/text/regex.h"
#include "normtweak/text/token_automaton.h"

namespace normtweak::text {

// Reads the text from its end: what begins at a place is then known before anything to the left of it is looked at.
class TokenTable {
 public:
  using Entry = TokenAutomaton::Entry;

  struct Match {
    Span span;
    std::int64_t value = 0;
  };

  // An empty key is ignored; of equal keys the first wins. The strings are not kept.
  explicit TokenTable(std::vector<Entry> entries = {});

  // The longest key that begins at each place where one begins, from the last place to the first.
  std::vector<Match> longest_at_each(std::string_view text) const;

  // Leftmost-longest, non-overlapping matches, from left to right.
  std::vector<Match> find_all(std::string_view text) const;

 private:
  TokenAutomaton automaton_;
};

}  // namespace normtweak::text
