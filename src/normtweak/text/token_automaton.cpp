#include "normtweak/text/token_automaton.h"

#include <algorithm>
#include <iterator>
#include <ranges>

#include "normtweak/base/error.h"

namespace normtweak::text {
namespace {

using Entry = TokenAutomaton::Entry;

// Backward automata are made of reversed keys, whose order this is.
bool is_less_reversed(std::string_view a, std::string_view b) {
  return std::ranges::lexicographical_compare(
      a | std::views::reverse, b | std::views::reverse, {}, [](char byte) { return static_cast<std::uint8_t>(byte); },
      [](char byte) { return static_cast<std::uint8_t>(byte); });
}

void sort_keys(std::vector<Entry>& entries, bool reversed) {
  std::erase_if(entries, [](const Entry& entry) { return entry.first.empty(); });
  if (reversed) {
    std::ranges::stable_sort(entries, &is_less_reversed, &Entry::first);
  } else {
    std::ranges::stable_sort(entries, {}, &Entry::first);
  }
  const auto again = std::ranges::unique(entries, {}, &Entry::first);
  entries.erase(again.begin(), again.end());
}

std::size_t shared_bytes(std::string_view a, std::string_view b, bool reversed) {
  if (reversed) {
    const auto differ = std::ranges::mismatch(a | std::views::reverse, b | std::views::reverse);
    return static_cast<std::size_t>(std::distance(a.rbegin(), differ.in1));
  }
  return static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

std::size_t count_nodes(const std::vector<Entry>& sorted, bool reversed) {
  std::size_t count = 1;  // the root
  std::string_view before;
  for (const auto& [key, value] : sorted) {
    count += key.size() - shared_bytes(key, before, reversed);
    before = key;
  }
  return count;
}

}  // namespace

// Keys that share `depth` bytes, and have more; they become the children of `parent`.
struct TokenAutomaton::Group {
  const Entry* begin;
  const Entry* end;
  std::size_t depth;
  std::uint32_t parent;
  bool reversed;

  std::uint8_t byte_of(const Entry& entry) const {
    const auto& key = entry.first;
    return static_cast<std::uint8_t>(reversed ? key[key.size() - 1 - depth] : key[depth]);
  }
};

TokenAutomaton::TokenAutomaton(std::vector<Entry> entries, Direction direction) {
  const bool reversed = direction == Direction::backward;
  sort_keys(entries, reversed);
  const auto count = count_nodes(entries, reversed);
  if (count >= kNone) fail("the tokens have more than 4 GB");
  nodes_.reserve(count);
  keys_.reserve(entries.size());
  nodes_.push_back({});
  // Level by level: fallbacks lead to nodes nearer to the root, whose children are then known.
  std::vector<Group> level;
  if (!entries.empty()) level.push_back({entries.data(), entries.data() + entries.size(), 0, kRoot, reversed});
  while (!level.empty()) {
    std::vector<Group> next_level;
    for (const auto& group : level) add_children(group, next_level);
    level = std::move(next_level);
  }
}

void TokenAutomaton::add_children(const Group& group, std::vector<Group>& next_level) {
  nodes_[group.parent].first_child = static_cast<std::uint32_t>(nodes_.size());
  std::size_t steps = 0;
  for (const auto* begin = group.begin; begin != group.end;) {
    const auto byte = group.byte_of(*begin);
    const auto* const end =
        std::find_if(begin, group.end, [&](const Entry& entry) { return group.byte_of(entry) != byte; });
    const auto place = static_cast<std::uint32_t>(nodes_.size());
    Node node = {.byte = byte};
    if (group.parent == kRoot) {
      roots_[byte] = place;
    } else {
      node.fallback = next(nodes_[group.parent].fallback, byte, steps);
    }
    node.key = nodes_[node.fallback].key;
    if (begin->first.size() == group.depth + 1) {  // the shortest comes first
      keys_.push_back({begin->second, static_cast<std::uint32_t>(group.depth + 1), node.key});
      node.key = static_cast<std::uint32_t>(keys_.size() - 1);
      ++begin;
    }
    if (begin != end) next_level.push_back({begin, end, group.depth + 1, place, group.reversed});
    nodes_.push_back(node);
    ++nodes_[group.parent].children;
    begin = end;
  }
}

std::uint32_t TokenAutomaton::next(std::uint32_t node, std::uint8_t byte, std::size_t& steps) const {
  for (; node != kRoot; node = nodes_[node].fallback) {
    ++steps;
    if (const auto found = child(node, byte); found != kNone) return found;
  }
  ++steps;
  return roots_[byte];
}

std::uint32_t TokenAutomaton::child(std::uint32_t node, std::uint8_t byte) const {
  const auto first = nodes_.begin() + nodes_[node].first_child;
  const auto last = first + nodes_[node].children;
  const auto found = std::lower_bound(first, last, byte, [](const Node& row, std::uint8_t b) { return row.byte < b; });
  return found == last || found->byte != byte ? kNone : static_cast<std::uint32_t>(found - nodes_.begin());
}

}  // namespace normtweak::text
