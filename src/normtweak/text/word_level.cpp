#include "normtweak/text/word_level.h"

namespace normtweak::text {

WordLevel::WordLevel(const JsonPart& model, const Vocabulary& vocabulary, Spelling /*spelling*/)
    : vocabulary_(vocabulary) {
  const auto token = model["unk_token"];
  const auto id = vocabulary.id_of(token.text());
  if (!id) token.fail("{} is not in the vocabulary", token.text());
  unknown_id_ = *id;
}

void WordLevel::encode_word(std::string_view word, std::vector<std::int64_t>& ids) const {
  ids.assign(1, vocabulary_.id_of(word).value_or(unknown_id_));
}

}  // namespace normtweak::text
