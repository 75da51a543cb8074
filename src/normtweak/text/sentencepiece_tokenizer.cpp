#include "normtweak/text/sentencepiece_tokenizer.h"

#include <algorithm>
#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/text/base64.h"
#include "normtweak/text/derived_merges.h"
#include "normtweak/text/metaspace.h"
#include "normtweak/text/tokenizer_parts.h"

namespace normtweak::text {
namespace {

using Renamed = std::map<std::int64_t, std::string>;

Json make_normalizer(const SentencePieceModel& model) {
  Json::array_t steps;
  if (!model.charsmap.empty()) {
    steps.push_back({{"type", "Precompiled"}, {"precompiled_charsmap", to_base64(model.charsmap)}});
  }
  steps.push_back(replace_string(" ", kMetaspace));
  return sequence("normalizers", std::move(steps));
}

Json unigram_model(const SentencePieceModel& model) {
  Json document = {{"type", "Unigram"}, {"unk_id", model.unknown_id}, {"byte_fallback", model.byte_fallback}};
  Json::array_t rows;
  rows.reserve(model.pieces.size());
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    rows.emplace_back(Json::array({model.pieces[id], model.scores[id]}));
  }
  document["vocab"] = std::move(rows);
  return document;
}

// A piece that stands for a token to come gets its name, unless another has it.
std::vector<std::string> rename(const SentencePieceModel& model, const std::vector<DerivedMerge>& merges,
                                const Renamed& renamed, std::string_view origin) {
  auto tokens = model.pieces;
  for (const auto& [id, token] : renamed) {
    if (id < 0 || id >= static_cast<std::int64_t>(tokens.size())) continue;
    auto& piece = tokens[static_cast<std::size_t>(id)];
    if (piece == token || std::ranges::find(tokens, token) != tokens.end()) continue;
    const auto involves = [&](const DerivedMerge& merge) {
      return merge.left == id || merge.right == id ||
             tokens[static_cast<std::size_t>(merge.left)] + tokens[static_cast<std::size_t>(merge.right)] == piece;
    };
    if (std::ranges::any_of(merges, involves)) {
      fail("{}: added_tokens_decoder gives piece {} the name {}, but the piece is used in merges", origin, piece,
           token);
    }
    piece = token;
  }
  return tokens;
}

Json bpe_model(const SentencePieceModel& model, const Renamed& renamed, std::string_view origin) {
  const auto merges = derive_merges(model.pieces, {}, MergeOrder::id, origin);
  const auto tokens = rename(model, merges, renamed, origin);
  auto document = character_bpe(model.unknown, model.byte_fallback);
  document["vocab"] = vocabulary_as_json(tokens);
  document["merges"] = merges_as_json(tokens, merges);
  return document;
}

}  // namespace

Json sentencepiece_tokenizer_json(const SentencePieceModel& model, bool needs_bpe, const Renamed& renamed,
                                  std::string_view origin) {
  const bool is_bpe = needs_bpe || model.kind == SentencePieceKind::bpe;
  Json document = {{"normalizer", make_normalizer(model)}, {"pre_tokenizer", nullptr}, {"post_processor", nullptr}};
  document["decoder"] = model.byte_fallback ? fallback_decoder(false) : replace_string(kMetaspace, " ");
  document["model"] = is_bpe ? bpe_model(model, renamed, origin) : unigram_model(model);
  return document;
}

std::vector<AddedToken> sentencepiece_added_tokens(const SentencePieceModel& model) {
  std::vector<AddedToken> tokens;
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    const bool is_control = model.types[id] == kPieceControl;
    if (!is_control && model.types[id] != kPieceUserDefined) continue;
    tokens.push_back({.content = model.pieces[id], .special = is_control, .normalized = false});
  }
  return tokens;
}

}  // namespace normtweak::text
