#include "normtweak/text/tokenizer_folder.h"

#include <fmt/ranges.h>

#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/text/added_tokens.h"
#include "normtweak/text/folder_files.h"
#include "normtweak/text/token_roles.h"
#include "normtweak/text/tokenizer_classes.h"
#include "normtweak/text/vocabulary_folder.h"
#include "normtweak/text/word_encoder.h"

namespace normtweak::text {
namespace {

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

// What the class may replace, in a document of its own: the vocabulary is large.
Json replaceable_parts(const Json& document) {
  Json parts;
  for (const auto* const key : {"normalizer", "pre_tokenizer", "post_processor"}) {
    parts[key] = document.value(key, Json());
  }
  parts["model"] = {{"ignore_merges", document.at("model").value("ignore_merges", Json())}};
  return parts;
}

std::vector<std::string_view> parts_that_differ(const Json& file, const Json& rebuilt) {
  std::vector<std::string_view> parts;
  for (const auto* const part : {"normalizer", "pre_tokenizer"}) {
    Steps before, after;
    flatten(file.at(part), before);
    flatten(rebuilt.at(part), after);
    if (before != after) parts.emplace_back(part);
  }
  if (file.at("model").at("ignore_merges") == Json(true)) parts.emplace_back("ignore_merges");
  if (!file.at("post_processor").is_null() && rebuilt.at("post_processor").is_null()) {
    parts.emplace_back("post_processor");
  }
  return parts;
}

// tokenizer.json as the class loads it, but for its added tokens, which take much less memory when they are read.
struct Document {
  Json parts;
  std::vector<DeclaredToken> added;
  std::string origin;
};

Document read_document(const TokenizerFolder& folder) {
  FolderFile file(folder, "tokenizer.json", folder.tokenizer);
  check_model(file.part()["model"]);  // before anything else: the rest may be of a kind that is not known here
  auto added = take_added_tokens(file.content, file.origin);
  return {.parts = std::move(file.content), .added = std::move(added), .origin = std::move(file.origin)};
}

// Rebuilds what the class does not take from the file. Returns a note on what that changes.
std::vector<std::string> rebuild_and_tell(Document& document, const RebuildingClass& row, const JsonPart& config,
                                          const TokenRoles& roles) {
  const auto before = replaceable_parts(document.parts);
  rebuild(document.parts, row, config, roles.content("unk_token"), document.origin);
  const auto lost = parts_that_differ(before, replaceable_parts(document.parts));
  if (lost.empty()) return {};
  return {
      fmt::format("{}: transformers 5 loads it as {}, which replaces its {}; the ids here are those. To have the "
                  "file's own, set tokenizer_class to TokenizersBackend in tokenizer_config.json",
                  document.origin, row.name, fmt::join(lost, ", "))};
}

LoadedTokenizer load_from_json(const TokenizerFolder& folder, FolderFile& config) {
  auto document = read_document(folder);
  auto roles = read_roles(folder, config.part(), document.added);
  std::vector<std::string> notes;
  std::vector<AddedToken> tokens;
  const auto* const row = class_of(folder, config, "tokenizer.json", notes).row;
  if (row != nullptr) {
    set_defaults(roles, *row);
    append(notes, rebuild_and_tell(document, *row, config.part(), roles));
  } else {
    tokens.reserve(document.added.size());
    for (const auto& declared : document.added) tokens.push_back(declared.token);
  }
  config.content = nullptr;  // it may hold a million tokens, which `roles` has in less memory
  tokens = with_roles(std::move(tokens), roles, row);
  const auto others = roles.take_declared_beside(document.added);
  auto makings = kept_makings(folder, document.parts, tokens);

  Tokenizer tokenizer(document.parts, std::move(tokens), document.origin);
  if (row != nullptr && row->around == Around::cls_and_sep)
    tokenizer.surround(roles.content("cls_token"), roles.content("sep_token"));
  append(notes, note_on_ids(document.added, tokenizer, document.origin));
  append(notes, note_on_ids(others, tokenizer, folder.origin));
  return {tokenizer, std::move(notes), tokens_by_role(roles), std::move(makings)};
}

}  // namespace

std::optional<std::string> find_vocabulary_file(const std::vector<std::string>& names, std::string_view origin) {
  std::optional<std::string> found;
  for (const auto& name : names) {
    if (!is_vocabulary_file(name)) continue;
    if (found) {
      fail("{}: {} and {} are there, and no tokenizer.json; remove the one that is not the model's", origin, *found,
           name);
    }
    found = name;
  }
  return found;
}

bool is_vocabulary_file(std::string_view name) {
  return name == kSentencePieceFile || name == kTiktokenFile || name == kTekkenFile || name.ends_with(kTiktokenEnding);
}

LoadedTokenizer load_tokenizer(const TokenizerFolder& folder) {
  FolderFile config(folder, "tokenizer_config.json", folder.config);
  if (const auto split = config.part()["split_special_tokens"]; split.flag(false)) split.fail("is not supported");
  const bool needs_vocabulary = folder.tokenizer.empty() && folder.vocabulary;
  return needs_vocabulary ? load_from_vocabulary(folder, config) : load_from_json(folder, config);
}

}  // namespace normtweak::text
