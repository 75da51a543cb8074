#include "normtweak/text/word_piece.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace normtweak::text {
namespace {

bool is_start_of_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }

// Tokens that begin with `prefix`, without it.
TokenTable tokens_with(std::string_view prefix, const Vocabulary& vocabulary) {
  std::vector<TokenTable::Entry> entries;
  vocabulary.for_each([&](std::string_view token, std::int64_t id) {
    if (token.starts_with(prefix)) entries.emplace_back(token.substr(prefix.size()), id);
  });
  return TokenTable(std::move(entries));
}

}  // namespace

WordPiece::WordPiece(const JsonPart& model, const Vocabulary& vocabulary, Spelling /*spelling*/)
    : tokens_(tokens_with("", vocabulary)),
      continuing_(tokens_with(model["continuing_subword_prefix"].text(), vocabulary)) {
  const auto unknown = model["unk_token"], most = model["max_input_chars_per_word"];
  const auto id = vocabulary.id_of(unknown.text());
  if (!id) unknown.fail("{} is not in the vocabulary", unknown.text());
  unknown_id_ = *id;
  if (most.integer() < 0) most.fail("{} is not a number of characters", most.integer());
  most_characters_ = static_cast<std::size_t>(most.integer());
}

void WordPiece::encode_word(std::string_view word, std::vector<std::int64_t>& ids) const {
  ids.clear();
  const auto characters = static_cast<std::size_t>(std::ranges::count_if(word, is_start_of_character));
  if (characters > most_characters_) return ids.assign(1, unknown_id_);
  const auto first = tokens_.longest_at_each(word);  // from the last place to the first
  if (first.empty() || first.back().span.begin > 0) return ids.assign(1, unknown_id_);
  ids.push_back(first.back().value);
  auto continuing = continuing_.longest_at_each(word);
  for (auto at = first.back().span.end; at < word.size();) {
    while (!continuing.empty() && continuing.back().span.begin < at) continuing.pop_back();
    if (continuing.empty() || continuing.back().span.begin > at) return ids.assign(1, unknown_id_);
    ids.push_back(continuing.back().value);
    at = continuing.back().span.end;
  }
}

}  // namespace normtweak::text
