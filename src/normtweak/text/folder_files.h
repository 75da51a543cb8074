// What every kind of tokenizer takes from the files of its folder; see tokenizer_folder.h.
#pragma once
#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "normtweak/text/added_tokens.h"
#include "normtweak/text/json_part.h"
#include "normtweak/text/token_roles.h"
#include "normtweak/text/tokenizer_classes.h"
#include "normtweak/text/tokenizer_folder.h"

namespace normtweak::text {

// One of the files; null if it is not there.
struct FolderFile {
  FolderFile(const TokenizerFolder& folder, std::string_view name, std::optional<std::string_view> text);
  JsonPart part() const { return {content, origin}; }

  std::string origin;
  Json content;
};

// That of tokenizer_config.json, or else of config.json; may be empty.
std::string class_name(const TokenizerFolder& folder, const JsonPart& config);

// added: what tokenizer.json adds. The other files' trees are gone when this returns.
TokenRoles read_roles(const TokenizerFolder& folder, const JsonPart& config, const std::vector<DeclaredToken>& added);

// Adds notes on a class that is not known, and on code that is not run. vocabulary: the name of the file that is read.
// Throws Error for a class that is built in a way that is not known here.
ChosenClass class_of(const TokenizerFolder& folder, const FolderFile& config, std::string_view vocabulary,
                     std::vector<std::string>& notes);

// The tokens of roles that the class has where no file names any.
void set_defaults(TokenRoles& roles, const RebuildingClass& row);

// The tokens, and what the files beside the vocabulary add. row: may be null.
std::vector<AddedToken> with_roles(std::vector<AddedToken> tokens, const TokenRoles& roles, const RebuildingClass* row);

// A note on the first token that does not get the id that a file gives it; none if all do.
std::vector<std::string> note_on_ids(const std::vector<DeclaredToken>& declared, const Tokenizer& tokenizer,
                                     std::string_view origin);

// The makings of a tokenizer, if the folder asks for them. document: the content of tokenizer.json, or of what stands
// for it.
std::optional<TokenizerMakings> kept_makings(const TokenizerFolder& folder, const Json& document,
                                             const std::vector<AddedToken>& added);

// See LoadedTokenizer::roles.
std::map<std::string, std::string> tokens_by_role(const TokenRoles& roles);

// Without a copy if there was nothing: it may be a million tokens.
template <class Element>
void append(std::vector<Element>& list, std::vector<Element> more) {
  if (list.empty()) {
    list = std::move(more);
  } else {
    std::ranges::move(more, std::back_inserter(list));
  }
}

}  // namespace normtweak::text
