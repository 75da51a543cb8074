#include "normtweak/text/bpe.h"

#include <algorithm>

#include "normtweak/text/byte_level.h"
#include "normtweak/text/metaspace.h"
#include "normtweak/text/utf8.h"

namespace normtweak::text {
namespace {

std::string affix(const JsonPart& part) { return part.is_null() ? std::string() : part.text(); }

}  // namespace

bool Bpe::takes_bytes(const JsonPart& model) {
  return !model["byte_fallback"].flag(false) && affix(model["continuing_subword_prefix"]).empty() &&
         affix(model["end_of_word_suffix"]).empty();
}

Bpe::Bpe(const JsonPart& model, const Vocabulary& vocabulary, Spelling spelling)
    : vocabulary_(vocabulary),
      spelling_(spelling),
      prefix_(affix(model["continuing_subword_prefix"])),
      suffix_(affix(model["end_of_word_suffix"])),
      merges_(model["merges"], vocabulary, prefix_.size()) {
  for (std::size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    byte_ids_[byte] = vocabulary.id_of(byte_level_character(static_cast<std::uint8_t>(byte))).value_or(-1);
  }
  if (model["byte_fallback"].flag(false)) fallback_.emplace(vocabulary);
  read_unknown_token(model);
  ignore_merges_ = model["ignore_merges"].flag(false);
  if (ignore_merges_ && spelling == Spelling::bytes) read_whole_words();
  const bool is_plain = spelling == Spelling::text && !ignore_merges_ && prefix_.empty() && suffix_.empty();
  const bool has_space = vocabulary.id_of(kMetaspace).has_value();  // no unknown token spans it
  if (is_plain && has_space && !merges_.join_words()) cut_before_ = kMetaspace;
}

// Every character of a text can be spelled, or at least every byte.
bool Bpe::lacks_characters() const {
  if (spelling_ == Spelling::bytes) return std::ranges::find(byte_ids_, -1) != byte_ids_.end();
  return !fallback_ || !fallback_->is_complete();
}

void Bpe::read_unknown_token(const JsonPart& model) {
  fuse_unknown_ = model["fuse_unk"].flag(false);
  const auto token = model["unk_token"];
  if (token.is_null()) return;
  const auto id = vocabulary_.id_of(token.text());
  if (!id && lacks_characters()) token.fail("{} is not in the vocabulary, and not every byte is", token.text());
  unknown_id_ = id.value_or(-1);
}

void Bpe::read_whole_words() {
  vocabulary_.for_each([&](std::string_view token, std::int64_t id) {
    if (auto bytes = from_byte_level(token)) whole_words_.emplace(std::move(*bytes), id);
  });
}

void Bpe::encode_word(std::string_view word, std::vector<std::int64_t>& ids) const {
  if (ignore_merges_ && spelling_ == Spelling::text) {
    if (const auto id = vocabulary_.id_of(word)) return ids.assign(1, *id);
  }
  if (const auto whole = whole_words_.find(word); whole != whole_words_.end()) {
    ids.assign(1, whole->second);
    return;
  }
  spell(word, ids);
  merges_.apply(ids);
}

std::optional<std::int64_t> Bpe::find(std::string_view character, bool is_first, bool is_last) const {
  if (spelling_ == Spelling::bytes) {
    const auto id = byte_ids_[static_cast<std::uint8_t>(character.front())];
    return id < 0 ? std::nullopt : std::optional(id);
  }
  if (prefix_.empty() && suffix_.empty()) return vocabulary_.id_of(character);
  return vocabulary_.id_of(fmt::format("{}{}{}", is_first ? "" : prefix_, character, is_last ? suffix_ : ""));
}

void Bpe::spell(std::string_view word, std::vector<std::int64_t>& ids) const {
  ids.clear();
  bool pending = false;  // an unknown token that is still to be written
  const auto write_pending = [&] {
    if (pending) ids.push_back(unknown_id_);
    pending = false;
  };
  for (std::size_t at = 0; at < word.size();) {
    const auto length = spelling_ == Spelling::bytes ? 1 : code_point_at(word, at).length;
    const auto character = word.substr(at, length);
    const bool is_first = at == 0;
    at += length;
    const bool is_last = at == word.size();
    if (const auto id = find(character, is_first, is_last)) {
      write_pending();
      ids.push_back(*id);
    } else if (fallback_ && fallback_->append(is_first ? "" : prefix_, character, is_last ? suffix_ : "", ids)) {
      // What is pending stays so, and comes after these bytes, as in the `tokenizers` package.
    } else if (unknown_id_ >= 0) {
      if (!fuse_unknown_) write_pending();
      pending = true;
    }
  }
  write_pending();
}

}  // namespace normtweak::text
