#include "normtweak/text/tokenizer_parts.h"

#include <utility>

#include "normtweak/text/metaspace.h"

namespace normtweak::text {

Json vocabulary_as_json(const std::vector<std::string>& tokens) {
  Json::object_t vocabulary;
  std::vector<Json::object_t::value_type>& rows = vocabulary;
  rows.reserve(tokens.size());
  for (std::size_t id = 0; id < tokens.size(); ++id) rows.emplace_back(tokens[id], id);
  return vocabulary;
}

Json added_token(std::size_t id, const std::string& content, bool special) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", special}};
}

Json sequence(std::string_view name, Json::array_t steps) {
  if (steps.empty()) return nullptr;
  if (steps.size() == 1) return std::move(steps.front());
  return {{"type", "Sequence"}, {std::string(name), std::move(steps)}};
}

Json character_bpe(std::string_view unknown, bool byte_fallback) {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", unknown.empty() ? Json() : Json(unknown)},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", true},
          {"byte_fallback", byte_fallback},
          {"ignore_merges", false}};
}

Json metaspace(std::string_view prepend_scheme, bool split) {
  return {{"type", "Metaspace"}, {"replacement", kMetaspace}, {"prepend_scheme", prepend_scheme}, {"split", split}};
}

Json byte_level(bool add_prefix_space, bool use_regex) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Json isolated_split(std::string_view regex) {
  return {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
}

Json replace_string(std::string_view from, std::string_view to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

Json fallback_decoder(bool strips) {
  Json::array_t steps = {replace_string(kMetaspace, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}};
  if (strips) steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return sequence("decoders", std::move(steps));
}

Json template_of(const Frame& frame) {
  if (frame.before.empty() && frame.after.empty()) return nullptr;
  auto single = Json::array(), pair = Json::array();
  auto special = Json::object();
  const auto put_tokens = [&](Json& target, const std::vector<PlacedToken>& tokens, int type_id) {
    for (const auto& [token, id] : tokens) {
      target.push_back({{"SpecialToken", {{"id", token}, {"type_id", type_id}}}});
      special[token] = {{"id", token}, {"ids", Json::array({id})}, {"tokens", Json::array({token})}};
    }
  };
  const auto put_text = [&](Json& target, std::string_view name, int type_id) {
    put_tokens(target, frame.before, type_id);
    target.push_back({{"Sequence", {{"id", name}, {"type_id", type_id}}}});
    put_tokens(target, frame.after, type_id);
  };
  put_text(single, "A", 0);
  put_text(pair, "A", 0);
  put_text(pair, "B", 1);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", special}};
}

}  // namespace normtweak::text
