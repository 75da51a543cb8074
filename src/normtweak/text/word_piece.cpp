#include "normtweak/text/word_piece.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "normtweak/base/about.h"

namespace normtweak::text {
namespace {

bool is_start_of_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }

// Tokens that begin with `prefix`, without it.
TokenTable tokens_with(std::string_view prefix, const Vocabulary& vocabulary, const JsonPart& model) {
  std::vector<TokenTable::Entry> entries;
  vocabulary.for_each([&](std::string_view token, std::int64_t id) {
    if (token.starts_with(prefix)) entries.emplace_back(token.substr(prefix.size()), id);
  });
  return about(fmt::format("{}: model.vocab", model.origin()), [&] { return TokenTable(std::move(entries)); });
}

}  // namespace

WordPiece::WordPiece(const JsonPart& model, const Vocabulary& vocabulary, Spelling /*spelling*/)
    : tokens_(tokens_with("", vocabulary, model)),
      continuing_(tokens_with(model["continuing_subword_prefix"].text(), vocabulary, model)) {
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
  TokenTable::Search tokens(tokens_, word), continuing(continuing_, word);
  for (std::size_t at = 0; at < word.size();) {
    const auto token = at == 0 ? tokens.longest_at(at) : continuing.longest_at(at);
    if (token.span.empty()) return ids.assign(1, unknown_id_);
    ids.push_back(token.value);
    at = token.span.end;
  }
}

}  // namespace normtweak::text
