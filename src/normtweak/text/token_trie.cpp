#include "normtweak/text/token_trie.h"

#include <algorithm>
#include <deque>
#include <utility>

namespace normtweak::text {
namespace {

using Entry = std::pair<std::string_view, std::int64_t>;  // a token and its id

std::vector<Entry> sorted_tokens(const Vocabulary& vocabulary) {
  std::vector<Entry> entries;
  entries.reserve(static_cast<std::size_t>(vocabulary.count()));
  vocabulary.for_each([&](std::string_view token, std::int64_t id) {
    if (!token.empty()) entries.emplace_back(token, id);
  });
  std::ranges::sort(entries);
  return entries;
}

// Tokens that share `depth` bytes, and have more; the children of `parent`.
struct Group {
  const Entry* begin;
  const Entry* end;
  std::size_t depth, parent;
};

}  // namespace

TokenTrie::TokenTrie(const Vocabulary& vocabulary) {
  const auto entries = sorted_tokens(vocabulary);
  nodes_.push_back({});  // above the roots
  std::deque<Group> groups = {{entries.data(), entries.data() + entries.size(), 0, 0}};
  for (; !groups.empty(); groups.pop_front()) {
    auto [begin, end, depth, parent] = groups.front();
    nodes_[parent].first_child = static_cast<std::uint32_t>(nodes_.size());
    while (begin != end) {
      const auto byte = begin->first[depth];
      const auto* next = std::find_if(begin, end, [&](const Entry& entry) { return entry.first[depth] != byte; });
      Node node = {.byte = static_cast<std::uint8_t>(byte)};
      if (begin->first.size() == depth + 1) node.id = static_cast<std::int32_t>(begin++->second);  // the shortest
      if (begin != next) groups.push_back({begin, next, depth + 1, nodes_.size()});
      nodes_.push_back(node);
      ++nodes_[parent].children;
      begin = next;
    }
  }
  for (std::size_t byte = 0; byte < roots_.size(); ++byte) roots_[byte] = child(0, static_cast<std::uint8_t>(byte));
}

std::uint32_t TokenTrie::child(std::uint32_t node, std::uint8_t byte) const {
  const auto first = nodes_.begin() + nodes_[node].first_child;
  const auto last = first + nodes_[node].children;
  const auto found = std::lower_bound(first, last, byte, [](const Node& row, std::uint8_t b) { return row.byte < b; });
  return found == last || found->byte != byte ? kNone : static_cast<std::uint32_t>(found - nodes_.begin());
}

}  // namespace normtweak::text
