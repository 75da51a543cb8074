#include "normtweak/text/folder_files.h"

#include "normtweak/base/error.h"
#include "normtweak/text/tokenizer.h"

namespace normtweak::text {
namespace {

std::string note_on_unknown_class(std::string_view origin, std::string_view name, std::string_view vocabulary) {
  return fmt::format(
      "{}: tokenizer_class {} is not known here; {} is used as it is, as for PreTrainedTokenizerFast; compare its ids "
      "with AutoTokenizer's",
      origin, name, vocabulary);
}

[[noreturn]] void refuse_class(const TokenizerFolder& folder, const FolderFile& config, std::string_view name) {
  const bool is_in_config = !config.part()["tokenizer_class"].is_null();
  fail(
      "{}: tokenizer_class {} is built in a way that is not supported; if tokenizer.json is right as it is, call the "
      "class TokenizersBackend",
      is_in_config ? config.origin : folder.origin + "/config.json", name);
}

// The repository's own code, which transformers runs if it is told to trust it.
std::vector<std::string> note_on_own_code(const JsonPart& config, std::string_view vocabulary) {
  const auto map = config["auto_map"];
  if (!map.is_array() && (!map.is_object() || map["AutoTokenizer"].is_null())) return {};
  return {fmt::format("{}: `auto_map` names code of its own for the tokenizer, which is not run; {} is used",
                      config.origin(), vocabulary)};
}

// transformers then changes the pre-tokenizer of Mistral's models that were saved before its version 5.
std::vector<std::string> note_on_mistral(const JsonPart& config, std::string_view vocabulary) {
  if (!config["fix_mistral_regex"].flag(false)) return {};
  return {fmt::format("{}: fix_mistral_regex is not applied; {} is used as it is", config.origin(), vocabulary)};
}

}  // namespace

FolderFile::FolderFile(const TokenizerFolder& folder, std::string_view name, std::optional<std::string_view> text)
    : origin(fmt::format("{}/{}", folder.origin, name)) {
  if (!text) return;
  content = parse_json(*text, origin);
  part().object();
}

std::string class_name(const TokenizerFolder& folder, const JsonPart& config) {
  const auto name = config["tokenizer_class"];
  return name.is_null() ? folder.tokenizer_class : name.text();
}

TokenRoles read_roles(const TokenizerFolder& folder, const JsonPart& config, const std::vector<DeclaredToken>& added) {
  const FolderFile map(folder, "special_tokens_map.json", folder.special_tokens_map);
  const FolderFile more(folder, "added_tokens.json", folder.added_tokens);
  return {config, map.part(), more.part(), added};
}

ChosenClass class_of(const TokenizerFolder& folder, const FolderFile& config, std::string_view vocabulary,
                     std::vector<std::string>& notes) {
  const auto name = class_name(folder, config.part());
  const auto chosen =
      choose_class({.name = name,
                    .model_type = folder.model_type,
                    .mentions_byte_level = folder.tokenizer.find("\"ByteLevel\"") != std::string_view::npos});
  if (chosen.is_refused) refuse_class(folder, config, name);
  append(notes, note_on_own_code(config.part(), vocabulary));
  append(notes, note_on_mistral(config.part(), vocabulary));
  if (!chosen.is_known) notes.push_back(note_on_unknown_class(config.origin, name, vocabulary));
  return chosen;
}

void set_defaults(TokenRoles& roles, const RebuildingClass& row) {
  for (std::size_t i = 0; i < kRoles.size(); ++i) roles.set_default(kRoles[i], row.tokens[i]);
  if (row.mask_takes_space) roles.let_take_space("mask_token");
}

std::vector<AddedToken> with_roles(std::vector<AddedToken> tokens, const TokenRoles& roles,
                                   const RebuildingClass* row) {
  append(tokens, roles.to_add(tokens));
  if (row != nullptr && row->flags != Flags::kept) append(tokens, roles.special_tokens(row->flags == Flags::of_role));
  return tokens;
}

// Added tokens count on from the last id, whatever the file says. The note names the first that gets another.
std::vector<std::string> note_on_ids(const std::vector<DeclaredToken>& declared, const Tokenizer& tokenizer,
                                     std::string_view origin) {
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

std::optional<TokenizerMakings> kept_makings(const TokenizerFolder& folder, const Json& document,
                                             const std::vector<AddedToken>& added) {
  if (!folder.keep_makings) return std::nullopt;
  return TokenizerMakings{.document = document, .added = added};
}

std::map<std::string, std::string> tokens_by_role(const TokenRoles& roles) {
  std::map<std::string, std::string> tokens;
  for (const auto role : kRoles) {
    if (auto token = roles.content(role); !token.empty()) tokens.emplace(role, std::move(token));
  }
  return tokens;
}

}  // namespace normtweak::text
