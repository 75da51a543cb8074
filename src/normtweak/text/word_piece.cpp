#include "normtweak/text/word_piece.h"

#include <algorithm>

#include "normtweak/text/utf8.h"

namespace normtweak::text {
namespace {

bool is_start_of_character(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }

}  // namespace

WordPiece::WordPiece(const JsonPart& model, const Vocabulary& vocabulary, Spelling /*spelling*/)
    : vocabulary_(vocabulary), prefix_(model["continuing_subword_prefix"].text()) {
  const auto unknown = model["unk_token"], most = model["max_input_chars_per_word"];
  const auto id = vocabulary.id_of(unknown.text());
  if (!id) unknown.fail("{} is not in the vocabulary", unknown.text());
  unknown_id_ = *id;
  if (most.integer() < 0) most.fail("{} is not a number of characters", most.integer());
  most_characters_ = static_cast<std::size_t>(most.integer());
  vocabulary.for_each([&](std::string_view token, std::int64_t) { longest_ = std::max(longest_, token.size()); });
}

void WordPiece::encode_word(std::string_view word, std::vector<std::int64_t>& ids) const {
  ids.clear();
  const auto characters = static_cast<std::size_t>(std::ranges::count_if(word, is_start_of_character));
  if (characters > most_characters_) return ids.assign(1, unknown_id_);
  std::string token;
  for (std::size_t at = 0; at < word.size();) {
    auto end = std::min(word.size(), at + longest_);
    while (end < word.size() && !is_start_of_character(word[end])) --end;
    std::optional<std::int64_t> id;
    for (; end > at; --end) {
      if (end < word.size() && !is_start_of_character(word[end])) continue;
      token.assign(at > 0 ? prefix_ : "").append(word.substr(at, end - at));
      if ((id = vocabulary_.id_of(token))) break;
    }
    if (!id) return ids.assign(1, unknown_id_);
    ids.push_back(*id);
    at = end;
  }
}

}  // namespace normtweak::text
