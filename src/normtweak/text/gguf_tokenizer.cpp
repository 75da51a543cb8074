#include "normtweak/text/gguf_tokenizer.h"

#include <array>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "normtweak/text/gguf_pre_tokenizers.h"
#include "normtweak/text/json_part.h"
#include "normtweak/text/utf8.h"

namespace normtweak::text {
namespace {

constexpr std::string_view kDefaultRules = "default";

enum TokenType : std::int64_t { kUnknown = 2, kControl = 3, kUserDefined = 4 };

const GgufPreTokenizer& read_pre_tokenizer(const JsonPart& metadata) {
  const auto model = metadata["tokenizer.ggml.model"];
  if (model.is_null()) model.fail("is missing; the file holds no tokenizer");
  if (model.text() != "gpt2") model.fail("{}: only gpt2, byte-level BPE, is supported", model.text());
  const auto name = metadata["tokenizer.ggml.pre"];
  const auto* row = find_gguf_pre_tokenizer(name.is_null() ? kDefaultRules : std::string_view(name.text()));
  if (row == nullptr) name.fail("{} is not supported; these are: {}", name.text(), gguf_pre_tokenizer_names());
  return *row;
}

// JSON must be UTF-8, while strings in GGUF files may hold any bytes.
const std::string& utf8_text(const JsonPart& part) {
  const auto& text = part.text();
  if (std::string storage; valid_utf8(text, storage).data() != text.data()) {
    part.fail("the text is not UTF-8; is the file damaged?");
  }
  return text;
}

std::vector<std::string> read_tokens(const JsonPart& metadata) {
  const auto part = metadata["tokenizer.ggml.tokens"];
  std::vector<std::string> tokens;
  std::unordered_map<std::string, std::size_t> seen;
  for (const auto& element : part.elements()) {
    // Some files have an empty string for a removed token, but every id needs a unique name.
    auto token = utf8_text(element).empty() ? fmt::format("[EMPTY_{}]", tokens.size()) : element.text();
    const auto [row, is_new] = seen.emplace(token, tokens.size());
    if (!is_new) element.fail("the token {} stands at {} already", token, row->second);
    tokens.push_back(std::move(token));
  }
  if (tokens.empty()) part.fail("is missing or empty");
  return tokens;
}

std::optional<std::size_t> read_id(const JsonPart& metadata, std::string_view key, std::size_t count) {
  const auto part = metadata[fmt::format("tokenizer.ggml.{}", key)];
  if (part.is_null()) return std::nullopt;
  const auto id = part.integer();
  if (id < 0 || id >= static_cast<std::int64_t>(count)) part.fail("{} is not an id; there are {} tokens", id, count);
  return static_cast<std::size_t>(id);
}

// Appends without looking up the key, which would take half a minute for a hundred thousand tokens. The tokens are
// known to be distinct.
Json make_vocabulary(const std::vector<std::string>& tokens) {
  Json::object_t vocabulary;
  std::vector<Json::object_t::value_type>& rows = vocabulary;
  rows.reserve(tokens.size());
  for (std::size_t id = 0; id < tokens.size(); ++id) rows.emplace_back(tokens[id], id);
  return vocabulary;
}

Json read_merges(const JsonPart& metadata) {
  const auto part = metadata["tokenizer.ggml.merges"];
  if (!part.is_array()) part.fail("is missing");
  auto merges = Json::array();
  for (const auto& element : part.elements()) merges.push_back(utf8_text(element));
  return merges;
}

Json added_token(std::size_t id, const std::string& content, bool special) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

// What GGUF does not specify follows llama.cpp: no white space is stripped, and tokens are matched in the raw text.
Json make_added_tokens(const JsonPart& metadata, const std::vector<std::string>& tokens) {
  const auto part = metadata["tokenizer.ggml.token_type"];
  const auto types = part.elements();
  if (!types.empty() && types.size() != tokens.size()) {
    part.fail("{} types for {} tokens", types.size(), tokens.size());
  }
  auto added = Json::array();
  for (std::size_t id = 0; id < types.size(); ++id) {
    const auto type = types[id].integer();
    const bool special = type == kControl || type == kUnknown;
    if (special || type == kUserDefined) added.push_back(added_token(id, tokens[id], special));
  }
  return added;
}

Json make_pre_tokenizer(const GgufPreTokenizer& row) {
  auto steps = Json::array();
  for (const auto regex : row.regexes) {
    steps.push_back({{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}});
  }
  steps.push_back(
      {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", row.gpt2_regex}});
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

Json byte_level(bool trim_offsets) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", trim_offsets}, {"use_regex", true}};
}

struct Frame {  // ids around a text
  std::optional<std::size_t> before, after;
};

Frame read_frame(const JsonPart& metadata, const GgufPreTokenizer& row, std::size_t count) {
  Frame frame;
  if (metadata["tokenizer.ggml.add_bos_token"].flag(row.add_bos))
    frame.before = read_id(metadata, "bos_token_id", count);
  if (metadata["tokenizer.ggml.add_eos_token"].flag(false)) frame.after = read_id(metadata, "eos_token_id", count);
  return frame;
}

Json make_post_processor(const Frame& frame, const std::vector<std::string>& tokens) {
  if (!frame.before && !frame.after) return byte_level(false);
  auto single = Json::array(), pair = Json::array();
  auto special = Json::object();
  const auto put_token = [&](Json& target, std::optional<std::size_t> id, int type_id) {
    if (!id) return;
    const auto& token = tokens[*id];
    target.push_back({{"SpecialToken", {{"id", token}, {"type_id", type_id}}}});
    special[token] = {{"id", token}, {"ids", Json::array({*id})}, {"tokens", Json::array({token})}};
  };
  const auto put_text = [&](Json& target, std::string_view name, int type_id) {
    put_token(target, frame.before, type_id);
    target.push_back({{"Sequence", {{"id", name}, {"type_id", type_id}}}});
    put_token(target, frame.after, type_id);
  };
  put_text(single, "A", 0);
  put_text(pair, "A", 0);
  put_text(pair, "B", 1);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
}

}  // namespace

Json tokenizer_json_from_gguf(const Json& metadata, std::string_view origin) {
  const JsonPart part(metadata, origin);
  const auto& row = read_pre_tokenizer(part);
  const auto tokens = read_tokens(part);
  Json document = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  document["added_tokens"] = make_added_tokens(part, tokens);
  document["normalizer"] = row.nfc ? Json{{"type", "NFC"}} : Json();
  document["pre_tokenizer"] = make_pre_tokenizer(row);
  document["post_processor"] = make_post_processor(read_frame(part, row, tokens.size()), tokens);
  document["decoder"] = byte_level(true);
  document["model"] = {{"type", "BPE"},
                       {"dropout", nullptr},
                       {"unk_token", nullptr},
                       {"continuing_subword_prefix", nullptr},
                       {"end_of_word_suffix", nullptr},
                       {"fuse_unk", false},
                       {"byte_fallback", false},
                       {"ignore_merges", row.ignore_merges}};
  document["model"]["vocab"] = make_vocabulary(tokens);
  document["model"]["merges"] = read_merges(part);
  return document;
}

Json tokenizer_config_from_gguf(const Json& metadata, std::string_view origin) {
  const JsonPart part(metadata, origin);
  const auto& row = read_pre_tokenizer(part);
  const auto tokens = read_tokens(part);
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
  constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kNames = {{{"bos_token", "bos_token_id"},
                                                                                    {"eos_token", "eos_token_id"},
                                                                                    {"unk_token", "unknown_token_id"},
                                                                                    {"pad_token", "padding_token_id"}}};
  for (const auto& [name, key] : kNames) {
    if (const auto id = read_id(part, key, tokens.size())) config[std::string(name)] = tokens[*id];
  }
  const auto frame = read_frame(part, row, tokens.size());
  config["add_bos_token"] = frame.before.has_value();
  config["add_eos_token"] = frame.after.has_value();
  if (const auto architecture = part["general.architecture"]; !architecture.is_null()) {
    const auto limit = part[fmt::format("{}.context_length", architecture.text())];
    if (!limit.is_null()) config["model_max_length"] = limit.integer();
  }
  if (const auto chat = part["tokenizer.chat_template"]; !chat.is_null()) config["chat_template"] = utf8_text(chat);
  return config;
}

std::vector<std::string> gguf_tokenizer_notes(const Json& metadata, std::string_view origin) {
  const JsonPart part(metadata, origin);
  const auto& row = read_pre_tokenizer(part);
  std::vector<std::string> notes;
  if (const auto name = part["tokenizer.ggml.pre"]; row.name == kDefaultRules) {
    notes.push_back(
        fmt::format("{}: tokenizer.ggml.pre {}; llama.cpp's default rules are assumed, and the model may have been "
                    "trained with others; name them (gguf-new-metadata --pre-tokenizer) or convert the model again",
                    origin, name.is_null() ? "is missing" : "is \"default\""));
  }
  const bool has_bos = !part["tokenizer.ggml.bos_token_id"].is_null();
  if (has_bos && part["tokenizer.ggml.add_bos_token"].is_null()) {
    notes.push_back(
        fmt::format("{}: tokenizer.ggml.add_bos_token is missing; as in llama.cpp, texts are assumed to "
                    "start with{} the BOS token",
                    origin, row.add_bos ? "" : "out"));
  }
  if (part["tokenizer.ggml.token_type"].is_null()) {
    notes.push_back(
        fmt::format("{}: tokenizer.ggml.token_type is missing; no token is taken for a special one", origin));
  }
  return notes;
}

}  // namespace normtweak::text
