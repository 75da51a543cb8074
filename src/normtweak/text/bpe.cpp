#include "normtweak/text/bpe.h"

#include <algorithm>

#include "normtweak/text/byte_level.h"

namespace normtweak::text {

JsonPart Bpe::check(const JsonPart& model) {
  if (model.is_null()) model.fail("is missing");
  // Early files do not name the type; only BPE has merges.
  const auto type = model["type"];
  const bool is_bpe = type.is_null() ? !model["merges"].is_null() : type.text() == "BPE";
  if (!is_bpe) model.fail("type {}: only byte-level BPE is supported", type.is_null() ? "unknown" : type.text());
  if (model["byte_fallback"].flag(false)) model.fail("byte_fallback: only byte-level BPE is supported");
  for (const auto* const affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const auto part = model[affix];
    if (!part.is_null() && !part.text().empty()) part.fail("\"{}\" is not supported", part.text());
  }
  const auto dropout = model["dropout"];
  if (!dropout.is_null() && dropout.number() != 0) dropout.fail("is not supported: it makes the ids random");
  return model;
}

Bpe::Bpe(const JsonPart& model, const Vocabulary& vocabulary) : merges_(model["merges"], vocabulary) {
  for (std::size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    byte_ids_[byte] = vocabulary.id_of(byte_level_character(static_cast<std::uint8_t>(byte))).value_or(-1);
  }
  read_unknown_token(model, vocabulary);
  if (!model["ignore_merges"].flag(false)) return;
  for (const auto& [token, id] : vocabulary.ids()) {
    if (auto bytes = from_byte_level(token)) whole_words_.emplace(std::move(*bytes), id);
  }
}

void Bpe::read_unknown_token(const JsonPart& model, const Vocabulary& vocabulary) {
  fuse_unknown_ = model["fuse_unk"].flag(false);
  const auto token = model["unk_token"];
  if (token.is_null()) return;
  const auto id = vocabulary.id_of(token.text());
  const bool needed = std::find(byte_ids_.begin(), byte_ids_.end(), -1) != byte_ids_.end();
  if (!id && needed) token.fail("{} is not in the vocabulary, and not every byte is", token.text());
  unknown_id_ = id.value_or(-1);
}

void Bpe::encode(const std::vector<std::string_view>& words, std::vector<std::int64_t>& ids) const {
  // If another thread holds the cache, this one works without waiting for it.
  const std::unique_lock lock(mutex_, std::try_to_lock);
  WordCache own;
  auto& cache = lock.owns_lock() ? cache_ : own;
  std::vector<std::int64_t> merged;
  for (const auto word : words) {
    if (const auto known = cache.find(word)) {
      ids.insert(ids.end(), known->begin(), known->end());
      continue;
    }
    encode_word(word, merged);
    cache.insert(word, merged);
    ids.insert(ids.end(), merged.begin(), merged.end());
  }
}

void Bpe::encode_word(std::string_view word, std::vector<std::int64_t>& ids) const {
  if (const auto whole = whole_words_.find(word); whole != whole_words_.end()) {
    ids.assign(1, whole->second);
    return;
  }
  spell(word, ids);
  merges_.apply(ids);
}

void Bpe::spell(std::string_view word, std::vector<std::int64_t>& ids) const {
  ids.clear();
  bool in_unknown = false;
  for (const char byte : word) {
    const auto id = byte_ids_[static_cast<std::uint8_t>(byte)];
    const bool is_unknown = id < 0;
    const bool fused = is_unknown && in_unknown && fuse_unknown_;
    if (!is_unknown) ids.push_back(id);
    if (is_unknown && unknown_id_ >= 0 && !fused) ids.push_back(unknown_id_);
    in_unknown = is_unknown;
  }
}

}  // namespace normtweak::text
