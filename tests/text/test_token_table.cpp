// Tokens in a text: by the definition of leftmost-longest matches, and with work that the tokens' length has no part
// in.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <optional>
#include <random>
#include <string>

#include "normtweak/text/token_table.h"

namespace normtweak::text {
namespace {

using Direction = TokenAutomaton::Direction;

std::vector<TokenTable::Entry> entries_of(const std::vector<std::string>& keys) {
  std::vector<TokenTable::Entry> entries;
  for (const auto& key : keys) entries.emplace_back(key, static_cast<std::int64_t>(entries.size()));
  return entries;
}

std::string repeated(std::string_view part, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += part;
  return text;
}

// The value and the size of the longest key that `text` begins with; of equal keys, that of the first.
std::optional<TokenTable::Match> longest_at(const std::vector<std::string>& keys, std::string_view text,
                                            std::size_t at) {
  std::optional<TokenTable::Match> best;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const bool is_longer = !best || keys[i].size() > best->span.end - at;
    if (keys[i].empty() || !text.substr(at).starts_with(keys[i]) || !is_longer) continue;
    best = TokenTable::Match{{at, at + keys[i].size()}, static_cast<std::int64_t>(i)};
  }
  return best;
}

using Found = std::vector<std::array<std::size_t, 3>>;  // begin, end, value

Found found(const std::vector<TokenTable::Match>& matches) {
  Found all;
  for (const auto& match : matches) {
    all.push_back({match.span.begin, match.span.end, static_cast<std::size_t>(match.value)});
  }
  return all;
}

Found by_definition(const std::vector<std::string>& keys, std::string_view text) {
  std::vector<TokenTable::Match> matches;
  for (std::size_t at = 0; at < text.size();) {
    const auto match = longest_at(keys, text, at);
    if (match) matches.push_back(*match);
    at = match ? match->span.end : at + 1;
  }
  return found(matches);
}

std::string drawn(std::mt19937& draw, int most) {
  std::string text;
  const auto size = std::uniform_int_distribution(0, most)(draw);
  for (int i = 0; i < size; ++i) text += "ab\xff"[std::uniform_int_distribution(0, 2)(draw)];
  return text;
}

TEST(TokenTable, FindsWhatTheDefinitionSays) {
  std::mt19937 draw(1);
  for (int run = 0; run < 2000; ++run) {
    std::vector<std::string> keys(std::uniform_int_distribution<std::size_t>(0, 8)(draw));
    for (auto& key : keys) key = drawn(draw, 5);
    const auto text = drawn(draw, 40);
    EXPECT_EQ(found(TokenTable(entries_of(keys)).find_all(text)), by_definition(keys, text));
  }
}

TEST(TokenAutomaton, NamesAllKeysThatEndAtAPlace) {
  const std::vector<std::string> keys = {"a", "ba", "aba", "b", "ab"};
  const TokenAutomaton automaton(entries_of(keys));
  TokenAutomaton::Cursor cursor(automaton);
  std::vector<std::vector<std::int64_t>> ends;
  for (const char letter : std::string("cababc")) {
    ends.emplace_back();
    for (const auto* key = cursor.read(letter); key != nullptr; key = automaton.shorter(*key)) {
      ends.back().push_back(key->value);
    }
  }
  EXPECT_EQ(ends, (std::vector<std::vector<std::int64_t>>{{}, {0}, {4, 3}, {2, 1, 0}, {4, 3}, {}}));
}

// Texts on which a search from each place anew takes thousands of steps a byte.
TEST(TokenAutomaton, LooksAtNoMoreThanTwoNodesForAByte) {
  constexpr int kLong = 5000;
  const auto run = repeated("a", kLong);
  const std::vector<std::string> keys = {run, run + "b", "b" + run, repeated("ab", kLong) + "c", repeated("a", 70)};
  for (const auto direction : {Direction::forward, Direction::backward}) {
    const TokenAutomaton automaton(entries_of(keys), direction);
    for (const auto& text :
         {repeated("a", 20 * kLong), repeated("ab", 10 * kLong), repeated(run.substr(1) + "b", 20)}) {
      TokenAutomaton::Cursor cursor(automaton);
      auto read = text;
      if (direction == Direction::backward) std::ranges::reverse(read);
      for (const char letter : read) cursor.read(letter);
      EXPECT_LE(cursor.steps(), 2 * text.size());
    }
  }
}

}  // namespace
}  // namespace normtweak::text
