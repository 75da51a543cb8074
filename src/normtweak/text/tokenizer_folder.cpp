#include "normtweak/text/tokenizer_folder.h"

#include <fmt/ranges.h>

#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/text/bpe.h"
#include "normtweak/text/json_part.h"
#include "normtweak/text/token_roles.h"
#include "normtweak/text/tokenizer_classes.h"

namespace normtweak::text {
namespace {

// One of the files; null if it is not there.
struct File {
  File(const TokenizerFolder& folder, std::string_view name, std::optional<std::string_view> text)
      : origin(fmt::format("{}/{}", folder.origin, name)) {
    if (!text) return;
    content = parse_json(*text, origin);
    part().object();
  }
  JsonPart part() const { return {content, origin}; }

  std::string origin;
  Json content;
};

std::string class_name(const TokenizerFolder& folder, const JsonPart& config) {
  const auto name = config["tokenizer_class"];
  return name.is_null() ? folder.tokenizer_class : name.text();
}

// Replaces what the class does not take from tokenizer.json.
void rebuild(Json& document, const RebuildingClass& row, const JsonPart& config) {
  const auto prefix_space = config["add_prefix_space"];
  document["normalizer"] = rebuilt_normalizer(row);
  document["pre_tokenizer"] = rebuilt_pre_tokenizer(row, prefix_space.flag(false));
  document["decoder"] = {{"type", "ByteLevel"}};
  document["added_tokens"] = Json::array();
  if (!row.keeps_post_processor) document["post_processor"] = nullptr;
  auto& model = document["model"];
  for (const auto* const key : {"unk_token", "dropout", "fuse_unk", "ignore_merges"}) model.erase(key);
}

std::vector<std::string> contents_of(const JsonPart& added) {
  std::vector<std::string> found;
  for (const auto& element : added.elements()) {
    element["id"].integer();  // there has to be one, though transformers and this program ignore it
    found.push_back(element["content"].text());
  }
  return found;
}

// The steps of a normalizer or pre-tokenizer, one after the other, without what does not concern the ids.
using Steps = std::vector<nlohmann::json>;  // objects with their keys in order

void flatten(const Json& step, Steps& steps) {
  if (!step.is_object()) return;
  for (const auto* const members : {"normalizers", "pretokenizers"}) {
    if (!step.contains(members) || !step[members].is_array()) continue;
    for (const auto& member : step[members]) flatten(member, steps);
    return;
  }
  auto plain = step;
  plain.erase("trim_offsets");
  if (plain.value("type", Json()) == "ByteLevel") {
    for (const auto* const flag : {"add_prefix_space", "use_regex"}) plain[flag] = step.value(flag, Json(true));
  }
  steps.emplace_back(plain);
}

std::vector<std::string_view> parts_that_differ(const Json& file, const Json& rebuilt) {
  std::vector<std::string_view> parts;
  for (const auto* const part : {"normalizer", "pre_tokenizer"}) {
    Steps before, after;
    flatten(file.value(part, Json()), before);
    flatten(rebuilt.value(part, Json()), after);
    if (before != after) parts.emplace_back(part);
  }
  if (file.at("model").value("ignore_merges", Json()) == Json(true)) parts.emplace_back("ignore_merges");
  if (!file.value("post_processor", Json()).is_null() && rebuilt.at("post_processor").is_null()) {
    parts.emplace_back("post_processor");
  }
  return parts;
}

}  // namespace

Json loaded_tokenizer(const TokenizerFolder& folder) {
  File tokenizer(folder, "tokenizer.json", folder.tokenizer);
  Bpe::check(tokenizer.part()["model"]);  // before anything else: the rest may be of a kind that is not known here
  const File config(folder, "tokenizer_config.json", folder.config);
  const File map(folder, "special_tokens_map.json", folder.special_tokens_map);
  const File added(folder, "added_tokens.json", folder.added_tokens);
  if (const auto split = config.part()["split_special_tokens"]; split.flag(false)) split.fail("is not supported");

  TokenRoles roles(config.part(), map.part(), added.part(), tokenizer.part()["added_tokens"]);
  const auto* const row = find_rebuilding_class(class_name(folder, config.part()), folder.model_type);
  auto& document = tokenizer.content;
  if (row != nullptr) {
    rebuild(document, *row, config.part());
    for (std::size_t i = 0; i < kRoles.size(); ++i) roles.set_default(kRoles[i], row->tokens[i]);
  }
  auto tokens = roles.to_add(contents_of(tokenizer.part()["added_tokens"]));
  if (row != nullptr && row->resets_flags) {
    for (const auto& content : roles.contents()) tokens.push_back(special_token(content));
  }
  if (document["added_tokens"].is_null()) document["added_tokens"] = Json::array();
  for (auto& token : tokens) document["added_tokens"].push_back(std::move(token));
  return std::move(document);
}

std::vector<std::string> tokenizer_notes(const TokenizerFolder& folder) try {
  const File config(folder, "tokenizer_config.json", folder.config);
  const auto name = class_name(folder, config.part());
  if (!is_known_class(name)) {
    return {
        fmt::format("{}: tokenizer_class {} is not known here; tokenizer.json is used as it is, as for "
                    "PreTrainedTokenizerFast; compare its ids with AutoTokenizer's",
                    config.origin, name)};
  }
  const auto* const row = find_rebuilding_class(name, folder.model_type);
  if (row == nullptr) return {};
  const File tokenizer(folder, "tokenizer.json", folder.tokenizer);
  Bpe::check(tokenizer.part()["model"]);
  auto rebuilt = tokenizer.content;
  rebuild(rebuilt, *row, config.part());
  const auto lost = parts_that_differ(tokenizer.content, rebuilt);
  if (lost.empty()) return {};
  return {
      fmt::format("{}: transformers 5 loads it as {}, which replaces its {}; the ids here are those. To have the "
                  "file's own, set tokenizer_class to TokenizersBackend in tokenizer_config.json",
                  tokenizer.origin, row->name, fmt::join(lost, ", "))};
} catch (const Error&) {
  return {};
}

}  // namespace normtweak::text
