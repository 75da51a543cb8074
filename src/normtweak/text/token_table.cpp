#include "normtweak/text/token_table.h"

#include <algorithm>

#include "normtweak/base/error.h"

namespace normtweak::text {
namespace {

using Entry = TokenTable::Entry;

bool is_long(const Entry& entry) { return entry.first.size() > TokenTable::kLongestShort; }

// Takes them off `entries`.
std::vector<Entry> take_long_keys(std::vector<Entry>& entries) {
  std::vector<Entry> taken;
  std::size_t bytes = 0;
  for (const auto& entry : entries) {
    if (!is_long(entry)) continue;
    taken.push_back(entry);
    bytes += entry.first.size();
  }
  if (bytes > TokenTable::kMostLongBytes) {
    fail("the tokens of more than {} bytes have {} bytes together, and at most {} are read; the tokenizer is damaged",
         TokenTable::kLongestShort, bytes, TokenTable::kMostLongBytes);
  }
  std::erase_if(entries, is_long);
  return taken;
}

}  // namespace

TokenTable::TokenTable(std::vector<Entry> entries)
    : long_(take_long_keys(entries), TokenAutomaton::Direction::backward) {
  short_ = std::move(entries);
  std::erase_if(short_, [](const Entry& entry) { return entry.first.empty(); });
  std::ranges::stable_sort(short_, {}, &Entry::first);
  const auto again = std::ranges::unique(short_, {}, &Entry::first);
  short_.erase(again.begin(), again.end());
  for (const auto& entry : short_) starts_[static_cast<std::uint8_t>(entry.first.front())] = true;
}

TokenTable::Search::Search(const TokenTable& table, std::string_view text) : table_(table), text_(text) {
  if (table.long_.empty()) return;
  TokenAutomaton::Cursor cursor(table.long_);
  for (auto at = text.size(); at-- > 0;) {
    if (const auto* const key = cursor.read(text[at])) long_matches_.push_back({{at, at + key->size}, key->value});
  }
}

TokenTable::Match TokenTable::Search::longest_at(std::size_t at) {
  while (!long_matches_.empty() && long_matches_.back().span.begin < at) long_matches_.pop_back();
  const bool is_long = !long_matches_.empty() && long_matches_.back().span.begin == at;
  return is_long ? long_matches_.back() : table_.longest_short_at(text_, at);
}

std::vector<TokenTable::Match> TokenTable::find_all(std::string_view text) const {
  std::vector<Match> matches;
  if (short_.empty() && long_.empty()) return matches;
  Search search(*this, text);
  for (std::size_t at = 0; at < text.size();) {
    const auto match = search.longest_at(at);
    if (!match.span.empty()) matches.push_back(match);
    at = match.span.empty() ? at + 1 : match.span.end;
  }
  return matches;
}

TokenTable::Match TokenTable::longest_short_at(std::string_view text, std::size_t at) const {
  Match best = {{at, at}, -1};
  if (!starts_[static_cast<std::uint8_t>(text[at])]) return best;
  auto begin = short_.begin(), end = short_.end();  // of the keys that begin with what was read of the text
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
