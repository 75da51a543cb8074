#include "normtweak/text/token_trie.h"

namespace normtweak::text {

void TokenTrie::insert(std::string_view key, std::int64_t value) {
  if (key.empty()) return;
  starts_[static_cast<std::uint8_t>(key.front())] = true;
  std::uint32_t node = 0;
  for (const char byte : key) {
    const auto [child, is_new] = nodes_[node].children.try_emplace(byte, static_cast<std::uint32_t>(nodes_.size()));
    node = child->second;
    if (is_new) nodes_.emplace_back();
  }
  if (nodes_[node].value < 0) nodes_[node].value = value;
}

std::vector<TokenTrie::Match> TokenTrie::find_all(std::string_view text) const {
  std::vector<Match> matches;
  if (nodes_.size() == 1) return matches;
  for (std::size_t at = 0; at < text.size();) {
    const auto match = longest_at(text, at);
    if (!match.span.empty()) matches.push_back(match);
    at = match.span.empty() ? at + 1 : match.span.end;
  }
  return matches;
}

TokenTrie::Match TokenTrie::longest_at(std::string_view text, std::size_t at) const {
  Match best = {{at, at}, -1};
  if (!starts_[static_cast<std::uint8_t>(text[at])]) return best;
  std::uint32_t node = 0;
  for (std::size_t end = at; end < text.size();) {
    const auto child = nodes_[node].children.find(text[end]);
    if (child == nodes_[node].children.end()) break;
    node = child->second;
    ++end;
    if (nodes_[node].value >= 0) best = {{at, end}, nodes_[node].value};
  }
  return best;
}

}  // namespace normtweak::text
