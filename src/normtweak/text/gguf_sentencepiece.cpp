#include "normtweak/text/gguf_sentencepiece.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "normtweak/text/base64.h"
#include "normtweak/text/derived_merges.h"
#include "normtweak/text/gguf_vocabulary.h"
#include "normtweak/text/metaspace.h"
#include "normtweak/text/tokenizer_parts.h"

namespace normtweak::text {
namespace {

// What files do not say, and what decides on the ids: by general.architecture, as in transformers' reading of GGUF
// (integrations/gguf/gguf_tokenizer_mapping.py).
struct Architecture {
  std::string_view name;
  bool add_space_prefix = true;  // where the file has no such key
  bool prepends_always = false;  // also to a text that begins with a space, and after special tokens
};

constexpr std::array<Architecture, 5> kArchitectures = {{{.name = "gemma", .add_space_prefix = false},
                                                         {.name = "gemma2", .add_space_prefix = false},
                                                         {.name = "gemma3", .add_space_prefix = false},
                                                         {.name = "gemma3n", .add_space_prefix = false},
                                                         {.name = "phi3", .prepends_always = true}}};

Architecture architecture_of(const JsonPart& metadata) {
  const auto name = metadata["general.architecture"];
  if (name.is_null()) return {};
  const auto* const row = std::ranges::find(kArchitectures, name.text(), &Architecture::name);
  return row == kArchitectures.end() ? Architecture{} : *row;
}

bool adds_space(const JsonPart& metadata) {
  return metadata["tokenizer.ggml.add_space_prefix"].flag(architecture_of(metadata).add_space_prefix);
}

bool is_run_of_spaces(std::string_view token) {
  return token.size() > 1 && token.find_first_not_of(' ') == std::string_view::npos;
}

// The vocabulary of a model without a space in front of texts (Gemma) spells runs of spaces as they are, and calls them
// user-defined. The original has them as merges of marks, before all others.
void respell_spaces(std::vector<std::string>& tokens, std::vector<std::int64_t>& types, std::vector<double>& scores) {
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (!is_run_of_spaces(tokens[id])) continue;
    std::string marks;
    for (std::size_t i = 0; i < tokens[id].size(); ++i) marks += kMetaspace;
    tokens[id] = std::move(marks);
    if (!types.empty()) types[id] = kGgufNormal;
  }
  for (std::size_t id = 0; id < scores.size(); ++id) scores[id] = -static_cast<double>(id);
}

// Whether the ids are in the order of the scores, as SentencePiece's trainer leaves them; other tokens have none.
bool are_in_order(const std::vector<double>& scores, const std::vector<std::int64_t>& types) {
  double last = std::numeric_limits<double>::infinity();
  for (std::size_t id = 0; id < scores.size(); ++id) {
    if (!types.empty() && types[id] != kGgufNormal) continue;
    if (scores[id] > last) return false;
    last = scores[id];
  }
  return true;
}

}  // namespace

Json llama_tokenizer_json(const JsonPart& metadata) {
  auto tokens = read_gguf_tokens(metadata);
  auto types = read_gguf_types(metadata, tokens.size());
  auto scores = read_gguf_scores(metadata, tokens.size());
  const bool prefix = adds_space(metadata), always = prefix && architecture_of(metadata).prepends_always;
  if (!prefix && are_in_order(scores, types)) respell_spaces(tokens, types, scores);
  const auto frame = read_gguf_frame(metadata, true, false);
  Json document = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  document["added_tokens"] = gguf_added_tokens(types, tokens);
  document["normalizer"] =
      always
          ? sequence("normalizers", {{{"type", "Prepend"}, {"prepend", kMetaspace}}, replace_string(" ", kMetaspace)})
          : Json();
  document["pre_tokenizer"] = always ? Json() : metaspace(prefix ? "first" : "never", false);
  document["post_processor"] = template_of(frame);
  document["decoder"] = fallback_decoder(prefix);
  const auto unknown = prefix ? std::nullopt : read_gguf_id(metadata, "unknown_token_id", tokens.size());
  document["model"] = character_bpe(unknown ? std::string_view(tokens[*unknown]) : "", true);
  document["model"]["vocab"] = vocabulary_as_json(tokens);
  const bool has_merges = !metadata["tokenizer.ggml.merges"].is_null();  // few files do
  document["model"]["merges"] =
      has_merges ? read_gguf_merges(metadata)
                 : merges_as_json(tokens, derive_merges(tokens, scores, MergeOrder::score, metadata.origin()));
  return document;
}

Json t5_tokenizer_json(const JsonPart& metadata) {
  const auto tokens = read_gguf_tokens(metadata);
  const auto types = read_gguf_types(metadata, tokens.size());
  const auto scores = read_gguf_scores(metadata, tokens.size());
  for (const auto* const key : {"tokenizer.ggml.add_space_prefix", "tokenizer.ggml.remove_extra_whitespaces"}) {
    if (const auto part = metadata[key]; !part.flag(true)) part.fail("false is not supported for the model t5");
  }
  std::string charsmap;
  for (const auto& byte : metadata["tokenizer.ggml.precompiled_charsmap"].elements()) {
    charsmap.push_back(static_cast<char>(byte.integer()));
  }
  Json document = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  document["added_tokens"] = gguf_added_tokens(types, tokens);
  document["normalizer"] =
      charsmap.empty() ? Json() : Json{{"type", "Precompiled"}, {"precompiled_charsmap", to_base64(charsmap)}};
  document["pre_tokenizer"] = sequence("pretokenizers", {{{"type", "WhitespaceSplit"}}, metaspace("always", true)});
  document["post_processor"] = template_of(read_gguf_frame(metadata, false, true));
  document["decoder"] = metaspace("always", true);
  const auto unknown = read_gguf_id(metadata, "unknown_token_id", tokens.size());
  document["model"] = {{"type", "Unigram"}, {"unk_id", unknown ? Json(*unknown) : Json()}, {"byte_fallback", false}};
  auto& vocabulary = document["model"]["vocab"] = Json::array();
  for (std::size_t id = 0; id < tokens.size(); ++id) vocabulary.push_back(Json::array({tokens[id], scores[id]}));
  return document;
}

std::vector<std::string> llama_tokenizer_notes(const JsonPart& metadata) {
  if (!metadata["tokenizer.ggml.add_space_prefix"].is_null()) return {};
  return {fmt::format("{}: tokenizer.ggml.add_space_prefix is missing; texts are assumed to begin with{} a space",
                      metadata.origin(), adds_space(metadata) ? "" : "out")};
}

}  // namespace normtweak::text
