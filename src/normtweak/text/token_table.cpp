#include "normtweak/text/token_table.h"

#include <ranges>
#include <utility>

namespace normtweak::text {

TokenTable::TokenTable(std::vector<Entry> entries)
    : automaton_(std::move(entries), TokenAutomaton::Direction::backward) {}

std::vector<TokenTable::Match> TokenTable::longest_at_each(std::string_view text) const {
  std::vector<Match> matches;
  if (automaton_.empty()) return matches;
  TokenAutomaton::Cursor cursor(automaton_);
  for (auto at = text.size(); at-- > 0;) {
    if (const auto* const key = cursor.read(text[at])) matches.push_back({{at, at + key->size}, key->value});
  }
  return matches;
}

std::vector<TokenTable::Match> TokenTable::find_all(std::string_view text) const {
  std::vector<Match> matches;
  std::size_t done = 0;
  for (const auto& match : std::views::reverse(longest_at_each(text))) {
    if (match.span.begin < done) continue;
    matches.push_back(match);
    done = match.span.end;
  }
  return matches;
}

}  // namespace normtweak::text
