#include "normtweak/text/post_processor.h"

#include <string>
#include <unordered_map>

namespace normtweak::text {
namespace {

using Ids = std::vector<std::int64_t>;

// The ids of the special tokens of a template. Malformed ones matter only where the template uses them.
std::unordered_map<std::string, JsonPart> read_special_tokens(const JsonPart& part) {
  std::unordered_map<std::string, JsonPart> tokens;
  for (const auto& [name, token] : part.members()) tokens.emplace(name, token);
  return tokens;
}

Ids ids_of(const std::unordered_map<std::string, JsonPart>& special_tokens, const JsonPart& name) {
  Ids ids;
  if (const auto row = special_tokens.find(name.text()); row != special_tokens.end()) {
    for (const auto id : row->second["ids"].elements()) ids.push_back(id.integer());
  }
  if (ids.empty()) name.fail("special_tokens has no ids for {}", name.text());
  return ids;
}

SpecialTokens read_template(const JsonPart& part) {
  SpecialTokens tokens;
  const auto special_tokens = read_special_tokens(part["special_tokens"]);
  bool after_text = false;
  for (const auto& piece : part["single"].elements()) {
    if (const auto special = piece["SpecialToken"]; !special.is_null()) {
      auto& side = after_text ? tokens.after : tokens.before;
      const auto ids = ids_of(special_tokens, special["id"]);
      side.insert(side.end(), ids.begin(), ids.end());
    } else {
      const auto name = piece["Sequence"]["id"];
      if (name.text() != "A" || after_text) name.fail("a template for one text holds it once, as A");
      after_text = true;
    }
  }
  if (!after_text) part["single"].fail("the template does not hold the text, A");
  return tokens;
}

// ["<s>", 0]
std::int64_t read_named_id(const JsonPart& part) {
  const auto pair = part.elements();
  if (pair.size() != 2) part.fail("expected a token and its id");
  return pair[1].integer();
}

// Each processor wraps the output of the previous one.
SpecialTokens read_sequence(const JsonPart& part) {
  SpecialTokens all;
  for (const auto& member : part["processors"].elements()) {
    auto outer = read_post_processor(member);
    outer.before.insert(outer.before.end(), all.before.begin(), all.before.end());
    all.before = std::move(outer.before);
    all.after.insert(all.after.end(), outer.after.begin(), outer.after.end());
  }
  return all;
}

}  // namespace

SpecialTokens read_post_processor(const JsonPart& part) {
  if (part.is_null()) return {};
  const auto& type = part["type"].text();
  if (type == "ByteLevel") return {};
  if (type == "TemplateProcessing") return read_template(part);
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    return {{read_named_id(part["cls"])}, {read_named_id(part["sep"])}};
  }
  if (type == "Sequence") return read_sequence(part);
  part.fail(
      "the post-processor {} is not supported; TemplateProcessing, RobertaProcessing, BertProcessing, ByteLevel "
      "and Sequence are",
      type);
}

}  // namespace normtweak::text
