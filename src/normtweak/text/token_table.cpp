#include "normtweak/text/token_table.h"

#include <algorithm>

namespace normtweak::text {

TokenTable::TokenTable(std::vector<Entry> entries) : entries_(std::move(entries)) {
  std::erase_if(entries_, [](const Entry& entry) { return entry.first.empty(); });
  std::ranges::stable_sort(entries_, {}, &Entry::first);
  const auto again = std::ranges::unique(entries_, {}, &Entry::first);
  entries_.erase(again.begin(), again.end());
  for (const auto& entry : entries_) starts_[static_cast<std::uint8_t>(entry.first.front())] = true;
}

std::vector<TokenTable::Match> TokenTable::find_all(std::string_view text) const {
  std::vector<Match> matches;
  if (entries_.empty()) return matches;
  for (std::size_t at = 0; at < text.size();) {
    const auto match = longest_at(text, at);
    if (!match.span.empty()) matches.push_back(match);
    at = match.span.empty() ? at + 1 : match.span.end;
  }
  return matches;
}

TokenTable::Match TokenTable::longest_at(std::string_view text, std::size_t at) const {
  Match best = {{at, at}, -1};
  if (!starts_[static_cast<std::uint8_t>(text[at])]) return best;
  auto begin = entries_.begin(), end = entries_.end();  // of the keys that begin with what was read of the text
  for (std::size_t length = 0; at + length < text.size();) {
    const auto byte = static_cast<std::uint8_t>(text[at + length]);
    const auto byte_of = [length](const Entry& entry) { return static_cast<std::uint8_t>(entry.first[length]); };
    const auto narrowed = std::ranges::equal_range(begin, end, byte, {}, byte_of);
    begin = narrowed.begin();
    end = narrowed.end();
    if (begin == end) break;
    ++length;
    // The shortest key comes first; there is no second of its length.
    if (begin->first.size() != length) continue;
    best = {{at, at + length}, begin->second};
    ++begin;
  }
  return best;
}

}  // namespace normtweak::text
