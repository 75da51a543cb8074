#include "normtweak/text/word_encoder.h"

#include <algorithm>
#include <array>

#include "normtweak/text/bpe.h"
#include "normtweak/text/unigram.h"
#include "normtweak/text/word_level.h"
#include "normtweak/text/word_piece.h"

namespace normtweak::text {
namespace {

using Maker = std::unique_ptr<const WordEncoder> (*)(const JsonPart&, const Vocabulary&, Spelling);

template <class Encoder>
std::unique_ptr<const WordEncoder> make(const JsonPart& model, const Vocabulary& vocabulary, Spelling spelling) {
  return std::make_unique<const Encoder>(model, vocabulary, spelling);
}

struct Kind {
  std::string_view name;
  Maker maker;
  bool has_scores = false;  // `vocab` is a list of tokens and scores, not an object with ids
};

constexpr std::array<Kind, 4> kKinds = {{{"BPE", make<Bpe>},
                                         {"Unigram", make<Unigram>, true},
                                         {"WordLevel", make<WordLevel>},
                                         {"WordPiece", make<WordPiece>}}};

// Early files do not name the type: only BPE has merges, and only Unigram a list of tokens.
std::string type_of(const JsonPart& model) {
  if (const auto type = model["type"]; !type.is_null()) return type.text();
  if (!model["merges"].is_null()) return "BPE";
  if (model["vocab"].is_array()) return "Unigram";
  return "unknown";
}

const Kind& kind_of(const JsonPart& model) {
  const auto type = type_of(model);
  const auto* const kind = std::ranges::find(kKinds, type, &Kind::name);
  if (kind == kKinds.end()) model.fail("type {} is not supported; BPE, Unigram, WordLevel and WordPiece are", type);
  return *kind;
}

}  // namespace

void WordEncoder::encode(const std::vector<std::string_view>& words, std::vector<std::int64_t>& ids) const {
  // If another thread holds the cache, this one works without waiting for it.
  const std::unique_lock lock(mutex_, std::try_to_lock);
  WordCache own;
  auto& cache = lock.owns_lock() ? cache_ : own;
  std::vector<std::int64_t> found;
  for (auto word : words) {
    while (!word.empty()) {
      const auto part = word.substr(0, part_length(word));
      word.remove_prefix(part.size());
      if (const auto known = cache.find(part)) {
        ids.insert(ids.end(), known->begin(), known->end());
        continue;
      }
      encode_word(part, found);
      cache.insert(part, found);
      ids.insert(ids.end(), found.begin(), found.end());
    }
  }
}

std::size_t WordEncoder::part_length(std::string_view word) const {
  if (cut_before_.empty()) return word.size();
  std::size_t at = 0;
  while (word.substr(at).starts_with(cut_before_)) at += cut_before_.size();
  return std::min(word.find(cut_before_, at), word.size());
}

JsonPart check_model(const JsonPart& model) {
  if (model.is_null()) model.fail("is missing");
  const auto vocab = model["vocab"];
  if (!kind_of(model).has_scores) vocab.object();
  if (kind_of(model).has_scores && vocab.elements().empty()) vocab.fail("is empty");
  const auto dropout = model["dropout"];
  if (!dropout.is_null() && dropout.number() != 0) dropout.fail("is not supported: it makes the ids random");
  return model;
}

bool takes_bytes(const JsonPart& model) { return type_of(model) == "BPE" && Bpe::takes_bytes(model); }

std::unique_ptr<const WordEncoder> make_word_encoder(const JsonPart& model, const Vocabulary& vocabulary,
                                                     Spelling spelling) {
  return kind_of(model).maker(model, vocabulary, spelling);
}

}  // namespace normtweak::text
