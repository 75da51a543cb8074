// A set of strings that is matched against a text in one pass.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "normtweak/text/regex.h"

namespace normtweak::text {

class TokenTrie {
 public:
  struct Match {
    Span span;
    std::int64_t value = 0;
  };

  void insert(std::string_view key, std::int64_t value);  // an empty key is ignored; of equal keys the first wins

  // Leftmost-longest, non-overlapping matches.
  std::vector<Match> find_all(std::string_view text) const;

 private:
  struct Node {
    std::map<char, std::uint32_t> children;
    std::int64_t value = -1;
  };
  Match longest_at(std::string_view text, std::size_t at) const;  // an empty span if nothing starts there

  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::array<bool, 256> starts_ = {};  // first bytes of keys, for fast skipping
};

}  // namespace normtweak::text
