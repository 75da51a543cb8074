#include "normtweak/text/gguf_tokenizer.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "normtweak/text/gguf_pre_tokenizers.h"
#include "normtweak/text/gguf_sentencepiece.h"
#include "normtweak/text/gguf_vocabulary.h"
#include "normtweak/text/json_part.h"
#include "normtweak/text/tokenizer_parts.h"

namespace normtweak::text {
namespace {

constexpr std::string_view kDefaultRules = "default";

// A kind of tokenizer, by tokenizer.ggml.model.
struct Kind {
  std::string_view name;
  Json (*make)(const JsonPart& metadata);
  std::vector<std::string> (*notes)(const JsonPart& metadata);
  bool (*adds_bos)(const JsonPart& metadata);  // where the file does not say
  bool adds_eos = false;
};

const GgufPreTokenizer& read_pre_tokenizer(const JsonPart& metadata) {
  const auto name = metadata["tokenizer.ggml.pre"];
  const auto* row = find_gguf_pre_tokenizer(name.is_null() ? kDefaultRules : std::string_view(name.text()));
  if (row == nullptr) name.fail("{} is not supported; these are: {}", name.text(), gguf_pre_tokenizer_names());
  return *row;
}

Json make_pre_tokenizer(const GgufPreTokenizer& row) {
  auto steps = Json::array();
  for (const auto regex : row.regexes) steps.push_back(isolated_split(regex));
  steps.push_back(byte_level(false, row.gpt2_regex));
  for (const auto regex : row.byte_level_regexes) steps.push_back(isolated_split(regex));
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

// The post-processor, which adds nothing.
Json untrimmed() {
  auto step = byte_level(true, true);
  step["trim_offsets"] = false;
  return step;
}

Json gpt2_tokenizer_json(const JsonPart& metadata) {
  const auto& row = read_pre_tokenizer(metadata);
  const auto tokens = read_gguf_tokens(metadata);
  Json document = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  document["added_tokens"] = gguf_added_tokens(read_gguf_types(metadata, tokens.size()), tokens);
  document["normalizer"] = row.nfc ? Json{{"type", "NFC"}} : Json();
  document["pre_tokenizer"] = make_pre_tokenizer(row);
  auto around = template_of(read_gguf_frame(metadata, row.add_bos, false));
  document["post_processor"] = around.is_null() ? untrimmed() : std::move(around);
  document["decoder"] = byte_level(true, true);
  document["model"] = {{"type", "BPE"},
                       {"dropout", nullptr},
                       {"unk_token", nullptr},
                       {"continuing_subword_prefix", nullptr},
                       {"end_of_word_suffix", nullptr},
                       {"fuse_unk", false},
                       {"byte_fallback", false},
                       {"ignore_merges", row.ignore_merges}};
  document["model"]["vocab"] = vocabulary_as_json(tokens);
  document["model"]["merges"] = read_gguf_merges(metadata);
  return document;
}

bool gpt2_adds_bos(const JsonPart& metadata) { return read_pre_tokenizer(metadata).add_bos; }
bool llama_adds_bos(const JsonPart& /*metadata*/) { return true; }
bool t5_adds_bos(const JsonPart& /*metadata*/) { return false; }

std::vector<std::string> gpt2_notes(const JsonPart& metadata) {
  if (read_pre_tokenizer(metadata).name != kDefaultRules) return {};
  return {
      fmt::format("{}: tokenizer.ggml.pre {}; llama.cpp's default rules are assumed, and the model may have been "
                  "trained with others; name them (gguf-new-metadata --pre-tokenizer) or convert the model again",
                  metadata.origin(), metadata["tokenizer.ggml.pre"].is_null() ? "is missing" : "is \"default\"")};
}

std::vector<std::string> no_notes(const JsonPart& /*metadata*/) { return {}; }

constexpr std::array<Kind, 3> kKinds = {
    {{"gpt2", gpt2_tokenizer_json, gpt2_notes, gpt2_adds_bos},
     {"llama", llama_tokenizer_json, llama_tokenizer_notes, llama_adds_bos},
     {.name = "t5", .make = t5_tokenizer_json, .notes = no_notes, .adds_bos = t5_adds_bos, .adds_eos = true}}};

// llama.cpp's other kinds.
constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kUnsupported = {
    {{"bert", " (WordPiece)"}, {"rwkv", " (RWKV's World)"}, {"plamo2", " (PLaMo 2's Unigram of bytes)"}}};

const Kind& kind_of(const JsonPart& metadata) {
  const auto model = metadata["tokenizer.ggml.model"];
  if (model.is_null()) model.fail("is missing; the file holds no tokenizer");
  const auto* const kind = std::ranges::find(kKinds, model.text(), &Kind::name);
  if (kind != kKinds.end()) return *kind;
  if (model.text() == "none" || model.text() == "no_vocab") model.fail("{}: the file holds no tokenizer", model.text());
  using Row = std::pair<std::string_view, std::string_view>;
  const auto* const other = std::ranges::find(kUnsupported, model.text(), &Row::first);
  model.fail("{}{} is not supported; gpt2 (byte-level BPE), llama (SentencePiece) and t5 (Unigram) are", model.text(),
             other == kUnsupported.end() ? "" : other->second);
}

}  // namespace

Json tokenizer_json_from_gguf(const Json& metadata, std::string_view origin) {
  const JsonPart part(metadata, origin);
  return kind_of(part).make(part);
}

Json tokenizer_config_from_gguf(const Json& metadata, std::string_view origin) {
  const JsonPart part(metadata, origin);
  const auto& kind = kind_of(part);
  const auto tokens = part["tokenizer.ggml.tokens"].elements();
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
  for (const auto& [name, key] : kGgufRoles) {
    if (const auto id = read_gguf_id(part, key, tokens.size())) config[std::string(name)] = gguf_token(part, *id);
  }
  const auto frame = read_gguf_frame(part, kind.adds_bos(part), kind.adds_eos);
  config["add_bos_token"] = !frame.before.empty();
  config["add_eos_token"] = !frame.after.empty();
  if (const auto architecture = part["general.architecture"]; !architecture.is_null()) {
    const auto limit = part[fmt::format("{}.context_length", architecture.text())];
    if (!limit.is_null()) config["model_max_length"] = limit.integer();
  }
  if (const auto chat = part["tokenizer.chat_template"]; !chat.is_null()) config["chat_template"] = gguf_text(chat);
  return config;
}

std::vector<std::string> gguf_tokenizer_notes(const Json& metadata, std::string_view origin) {
  const JsonPart part(metadata, origin);
  const auto& kind = kind_of(part);
  auto notes = kind.notes(part);
  const bool has_bos = !part["tokenizer.ggml.bos_token_id"].is_null();
  if (has_bos && part["tokenizer.ggml.add_bos_token"].is_null()) {
    notes.push_back(
        fmt::format("{}: tokenizer.ggml.add_bos_token is missing; as in llama.cpp, texts are assumed to "
                    "start with{} the BOS token",
                    origin, kind.adds_bos(part) ? "" : "out"));
  }
  if (part["tokenizer.ggml.token_type"].is_null()) {
    notes.push_back(
        fmt::format("{}: tokenizer.ggml.token_type is missing; no token is taken for a special one", origin));
  }
  return notes;
}

}  // namespace normtweak::text
