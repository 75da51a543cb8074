#include "normtweak/text/tokenizer_folder.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/text/added_tokens.h"
#include "normtweak/text/json_part.h"
#include "normtweak/text/sentencepiece_model.h"
#include "normtweak/text/sentencepiece_tokenizer.h"
#include "normtweak/text/token_roles.h"
#include "normtweak/text/tokenizer_classes.h"
#include "normtweak/text/word_encoder.h"

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
  File file(folder, "tokenizer.json", folder.tokenizer);
  check_model(file.part()["model"]);  // before anything else: the rest may be of a kind that is not known here
  auto added = take_added_tokens(file.content, file.origin);
  return {.parts = std::move(file.content), .added = std::move(added), .origin = std::move(file.origin)};
}

// The other files' trees are gone when this returns.
TokenRoles read_roles(const TokenizerFolder& folder, const JsonPart& config, const std::vector<DeclaredToken>& added) {
  const File map(folder, "special_tokens_map.json", folder.special_tokens_map);
  const File more(folder, "added_tokens.json", folder.added_tokens);
  return {config, map.part(), more.part(), added};
}

std::string note_on_unknown_class(std::string_view origin, std::string_view name) {
  return fmt::format(
      "{}: tokenizer_class {} is not known here; tokenizer.json is used as it is, as for "
      "PreTrainedTokenizerFast; compare its ids with AutoTokenizer's",
      origin, name);
}

[[noreturn]] void refuse_class(const TokenizerFolder& folder, const File& config, std::string_view name) {
  const bool is_in_config = !config.part()["tokenizer_class"].is_null();
  fail(
      "{}: tokenizer_class {} is built in a way that is not supported; if tokenizer.json is right as it is, call the "
      "class TokenizersBackend",
      is_in_config ? config.origin : folder.origin + "/config.json", name);
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

using Declared = std::vector<DeclaredToken>;

// Added tokens count on from the last id, whatever the file says. The note names the first that gets another.
std::vector<std::string> note_on_ids(const Declared& declared, const Tokenizer& tokenizer, std::string_view origin) {
  std::string note;
  std::size_t more = 0;
  for (const auto& [token, id] : declared) {
    const auto found = tokenizer.id_of(token.content);
    if (token.content.empty() || found == id) continue;
    if (!note.empty()) {
      ++more;
      continue;
    }
    note = fmt::format("{}: added token {} has the id {}; it gets {}, as in transformers", origin, show(token.content),
                       id, found ? std::to_string(*found) : "none");
  }
  if (note.empty()) return {};
  return {more == 0 ? note : fmt::format("{}, and {} more get other ids, too", note, more)};
}

// Without a copy if there was nothing: it may be a million tokens.
template <class Element>
void append(std::vector<Element>& list, std::vector<Element> more) {
  if (list.empty()) {
    list = std::move(more);
  } else {
    std::ranges::move(more, std::back_inserter(list));
  }
}

std::vector<AddedToken> with_roles(std::vector<AddedToken> tokens, const TokenRoles& roles,
                                   const RebuildingClass* row) {
  append(tokens, roles.to_add(tokens));
  if (row != nullptr && row->flags != Flags::kept) append(tokens, roles.special_tokens(row->flags == Flags::of_role));
  return tokens;
}

// The repository's own code, which transformers runs if it is told to trust it.
std::vector<std::string> note_on_own_code(const JsonPart& config, std::string_view origin) {
  const auto map = config["auto_map"];
  if (!map.is_array() && (!map.is_object() || map["AutoTokenizer"].is_null())) return {};
  return {fmt::format(
      "{}: `auto_map` names code of its own for the tokenizer, which is not run; tokenizer.json is used", origin)};
}

// transformers then changes the pre-tokenizer of Mistral's models that were saved before its version 5.
std::vector<std::string> note_on_mistral(const JsonPart& config, std::string_view origin) {
  if (!config["fix_mistral_regex"].flag(false)) return {};
  return {fmt::format("{}: fix_mistral_regex is not applied; tokenizer.json is used as it is", origin)};
}

void set_defaults(TokenRoles& roles, const RebuildingClass& row) {
  for (std::size_t i = 0; i < kRoles.size(); ++i) roles.set_default(kRoles[i], row.tokens[i]);
  if (row.mask_takes_space) roles.let_take_space("mask_token");
}

ChosenClass class_of(const TokenizerFolder& folder, const File& config, std::vector<std::string>& notes) {
  const auto name = class_name(folder, config.part());
  const auto chosen =
      choose_class({.name = name,
                    .model_type = folder.model_type,
                    .mentions_byte_level = folder.tokenizer.find("\"ByteLevel\"") != std::string_view::npos});
  if (chosen.is_refused) refuse_class(folder, config, name);
  append(notes, note_on_own_code(config.part(), config.origin));
  append(notes, note_on_mistral(config.part(), config.origin));
  if (!chosen.is_known) notes.push_back(note_on_unknown_class(config.origin, name));
  return chosen;
}

LoadedTokenizer load_from_json(const TokenizerFolder& folder, File& config) {
  auto document = read_document(folder);
  auto roles = read_roles(folder, config.part(), document.added);
  std::vector<std::string> notes;
  std::vector<AddedToken> tokens;
  const auto* const row = class_of(folder, config, notes).row;
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

  Tokenizer tokenizer(document.parts, std::move(tokens), document.origin);
  if (row != nullptr && row->around == Around::cls_and_sep)
    tokenizer.surround(roles.content("cls_token"), roles.content("sep_token"));
  append(notes, note_on_ids(document.added, tokenizer, document.origin));
  append(notes, note_on_ids(others, tokenizer, folder.origin));
  return {tokenizer, std::move(notes)};
}

// The token around a text that the flag asks for; empty if there is none.
std::string around(const TokenRoles& roles, const JsonPart& flag, std::string_view role) {
  return flag.flag(false) ? roles.content(role) : std::string();
}

LoadedTokenizer load_from_sentencepiece(const TokenizerFolder& folder, const File& config) {
  const auto origin = folder.origin + "/tokenizer.model";
  const auto model = read_sentencepiece_model(*folder.sentencepiece, origin);
  auto roles = read_roles(folder, config.part(), {});
  std::vector<std::string> notes;
  const auto* const row = class_of(folder, config, notes).row;
  if (row != nullptr && row->form == Form::bytes) {
    fail("{}: tokenizer_class {} does not read it; a tokenizer.json is needed", origin, row->name);
  }
  const auto renamed = row == nullptr ? roles.added_by_id() : std::map<std::int64_t, std::string>();
  auto parts = sentencepiece_tokenizer_json(model, row != nullptr, renamed, origin);
  if (row != nullptr) {
    set_defaults(roles, *row);
    rebuild(parts, *row, config.part(), roles.content("unk_token"), origin);
  } else {
    if (model.bos_id >= 0) roles.set_default("bos_token", model.bos);
    if (model.eos_id >= 0) roles.set_default("eos_token", model.eos);
    if (model.unknown_id >= 0) roles.set_default("unk_token", model.unknown);
  }
  auto tokens = roles.has_extra() ? std::vector<AddedToken>() : sentencepiece_added_tokens(model);
  tokens = with_roles(std::move(tokens), roles, row);
  Tokenizer tokenizer(parts, std::move(tokens), origin);
  const auto add_bos = config.part()["add_bos_token"];
  tokenizer.surround(around(roles, add_bos, "bos_token"), around(roles, config.part()["add_eos_token"], "eos_token"));
  if (add_bos.is_null()) {
    notes.push_back(fmt::format("{}: add_bos_token is missing; as in transformers 5, texts start without the BOS token",
                                config.origin));
  }
  append(notes, note_on_ids(roles.take_declared_beside({}), tokenizer, folder.origin));
  return {tokenizer, std::move(notes)};
}

}  // namespace

LoadedTokenizer load_tokenizer(const TokenizerFolder& folder) {
  File config(folder, "tokenizer_config.json", folder.config);
  if (const auto split = config.part()["split_special_tokens"]; split.flag(false)) split.fail("is not supported");
  const bool is_sentencepiece = folder.tokenizer.empty() && folder.sentencepiece;
  return is_sentencepiece ? load_from_sentencepiece(folder, config) : load_from_json(folder, config);
}

}  // namespace normtweak::text
