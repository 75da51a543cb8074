#include "normtweak/text/gguf_vocabulary.h"

#include <utility>

#include "normtweak/text/token_index.h"
#include "normtweak/text/utf8.h"

namespace normtweak::text {
namespace {

JsonPart tokens_of(const JsonPart& metadata) { return metadata["tokenizer.ggml.tokens"]; }

std::string spelled(const JsonPart& token, std::size_t id) {
  return token.text().empty() ? fmt::format("[EMPTY_{}]", id) : gguf_text(token);
}

template <class Element>
void check_count(const JsonPart& part, const std::vector<Element>& values, std::size_t tokens, std::string_view what) {
  if (values.size() != tokens) part.fail("{} {} for {} tokens", values.size(), what, tokens);
}

}  // namespace

const std::string& gguf_text(const JsonPart& part) {
  const auto& text = part.text();
  if (std::string storage; valid_utf8(text, storage).data() != text.data()) {
    part.fail("the text is not UTF-8; is the file damaged?");
  }
  return text;
}

std::vector<std::string> read_gguf_tokens(const JsonPart& metadata) {
  const auto part = tokens_of(metadata);
  std::vector<std::string> tokens;
  tokens.reserve(part.elements().size());
  TokenIndex seen(part.elements().size());
  const auto text_of = [&](std::int32_t id) -> std::string_view { return tokens[static_cast<std::size_t>(id)]; };
  for (const auto& element : part.elements()) {
    tokens.push_back(spelled(element, tokens.size()));
    const auto before = seen.put(tokens.back(), static_cast<std::int32_t>(tokens.size() - 1), text_of);
    if (before) element.fail("the token {} stands at {} already", tokens.back(), *before);
  }
  if (tokens.empty()) part.fail("is missing or empty");
  return tokens;
}

std::string gguf_token(const JsonPart& metadata, std::size_t id) {
  return spelled(tokens_of(metadata).elements()[static_cast<std::ptrdiff_t>(id)], id);
}

std::vector<std::int64_t> read_gguf_types(const JsonPart& metadata, std::size_t tokens) {
  const auto part = metadata["tokenizer.ggml.token_type"];
  std::vector<std::int64_t> types;
  for (const auto& element : part.elements()) types.push_back(element.integer());
  if (!types.empty()) check_count(part, types, tokens, "types");
  return types;
}

std::vector<double> read_gguf_scores(const JsonPart& metadata, std::size_t tokens) {
  const auto part = metadata["tokenizer.ggml.scores"];
  std::vector<double> scores;
  for (const auto& element : part.elements()) scores.push_back(element.number());
  check_count(part, scores, tokens, "scores");
  return scores;
}

Json read_gguf_merges(const JsonPart& metadata) {
  const auto part = metadata["tokenizer.ggml.merges"];
  if (!part.is_array()) part.fail("is missing");
  auto merges = Json::array();
  for (const auto& element : part.elements()) merges.push_back(gguf_text(element));
  return merges;
}

std::optional<std::size_t> read_gguf_id(const JsonPart& metadata, std::string_view key, std::size_t tokens) {
  const auto part = metadata[fmt::format("tokenizer.ggml.{}", key)];
  if (part.is_null()) return std::nullopt;
  const auto id = part.integer();
  if (id < 0 || id >= static_cast<std::int64_t>(tokens)) part.fail("{} is not an id; there are {} tokens", id, tokens);
  return static_cast<std::size_t>(id);
}

Json gguf_added_tokens(const std::vector<std::int64_t>& types, const std::vector<std::string>& tokens) {
  auto added = Json::array();
  for (std::size_t id = 0; id < types.size(); ++id) {
    const bool special = types[id] == kGgufControl || types[id] == kGgufUnknown;
    if (special || types[id] == kGgufUserDefined) added.push_back(added_token(id, tokens[id], special));
  }
  return added;
}

Frame read_gguf_frame(const JsonPart& metadata, bool add_bos, bool add_eos) {
  const auto count = tokens_of(metadata).elements().size();
  Frame frame;
  const auto put = [&](std::string_view flag, bool otherwise, std::string_view key, std::vector<PlacedToken>& tokens) {
    if (!metadata[flag].flag(otherwise)) return;
    const auto found = read_gguf_id(metadata, key, count);
    if (!found) return;
    tokens.push_back({.token = gguf_token(metadata, *found), .id = *found});
  };
  put("tokenizer.ggml.add_bos_token", add_bos, "bos_token_id", frame.before);
  put("tokenizer.ggml.add_eos_token", add_eos, "eos_token_id", frame.after);
  return frame;
}

}  // namespace normtweak::text
