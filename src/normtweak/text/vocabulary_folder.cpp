#include "normtweak/text/vocabulary_folder.h"

#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/text/ranked_tokenizer.h"
#include "normtweak/text/sentencepiece_model.h"
#include "normtweak/text/sentencepiece_tokenizer.h"
#include "normtweak/text/tekken.h"
#include "normtweak/text/tiktoken_classes.h"
#include "normtweak/text/tiktoken_vocabulary.h"

namespace normtweak::text {
namespace {

// The files of one folder, and what is made of them.
class VocabularyFolder {
 public:
  VocabularyFolder(const TokenizerFolder& folder, const FolderFile& config)
      : folder_(folder),
        config_(config),
        name_(folder.vocabulary->name),
        content_(folder.vocabulary->content),
        origin_(fmt::format("{}/{}", folder.origin, name_)),
        roles_(read_roles(folder, config.part(), {})) {}

  LoadedTokenizer load() {
    if (name_ == kTekkenFile) return load_tekken();
    const bool is_ranked = name_ != kSentencePieceFile || is_tiktoken(content_);
    if (!is_ranked) return load_sentencepiece();
    const auto* const own = find_tiktoken_class(class_name(folder_, config_.part()));
    return own == nullptr ? load_tiktoken() : load_tiktoken_class(*own);
  }

 private:
  LoadedTokenizer load_sentencepiece();
  LoadedTokenizer load_tiktoken();
  LoadedTokenizer load_tiktoken_class(const TiktokenClass& row);
  LoadedTokenizer load_tekken();

  const RebuildingClass* choose_class();
  std::vector<AddedToken> tokens_beyond(std::size_t vocabulary) const;
  std::string around(std::string_view flag, std::string_view role) const;
  LoadedTokenizer finish(const Json& parts, std::vector<AddedToken> tokens, const RebuildingClass* row);
  LoadedTokenizer finish_with_frame(const Json& parts, std::vector<AddedToken> tokens, const RebuildingClass* row);

  const TokenizerFolder& folder_;
  const FolderFile& config_;
  std::string_view name_, content_;
  std::string origin_;
  TokenRoles roles_;
  std::vector<std::string> notes_;
};

const RebuildingClass* VocabularyFolder::choose_class() {
  const auto* const row = class_of(folder_, config_, name_, notes_).row;
  if (row != nullptr) set_defaults(roles_, *row);
  return row;
}

// The token around a text that the flag asks for; empty if there is none.
std::string VocabularyFolder::around(std::string_view flag, std::string_view role) const {
  return config_.part()[flag].flag(false) ? roles_.content(role) : std::string();
}

LoadedTokenizer VocabularyFolder::finish(const Json& parts, std::vector<AddedToken> tokens,
                                         const RebuildingClass* row) {
  tokens = with_roles(std::move(tokens), roles_, row);
  auto makings = kept_makings(folder_, parts, tokens);
  Tokenizer tokenizer(parts, std::move(tokens), origin_);
  append(notes_, note_on_ids(roles_.take_declared_beside({}), tokenizer, folder_.origin));
  return {tokenizer, std::move(notes_), tokens_by_role(roles_), std::move(makings)};
}

// With BOS and EOS where tokenizer_config.json asks for them.
LoadedTokenizer VocabularyFolder::finish_with_frame(const Json& parts, std::vector<AddedToken> tokens,
                                                    const RebuildingClass* row) {
  if (config_.part()["add_bos_token"].is_null()) {
    notes_.push_back(fmt::format(
        "{}: add_bos_token is missing; as in transformers 5, texts start without the BOS token", config_.origin));
  }
  const auto bos = around("add_bos_token", "bos_token"), eos = around("add_eos_token", "eos_token");
  auto loaded = finish(parts, std::move(tokens), row);
  loaded.tokenizer.surround(bos, eos);
  return loaded;
}

LoadedTokenizer VocabularyFolder::load_sentencepiece() {
  const auto model = read_sentencepiece_model(content_, origin_);
  const auto* const row = class_of(folder_, config_, name_, notes_).row;
  if (row != nullptr && row->form == Form::bytes) {
    fail("{}: tokenizer_class {} does not read it; a tokenizer.json is needed", origin_, row->name);
  }
  const auto renamed = row == nullptr ? roles_.added_by_id() : std::map<std::int64_t, std::string>();
  auto parts = sentencepiece_tokenizer_json(model, row != nullptr, renamed, origin_);
  if (row != nullptr) {
    set_defaults(roles_, *row);
    rebuild(parts, *row, config_.part(), roles_.content("unk_token"), origin_);
  } else {
    if (model.bos_id >= 0) roles_.set_default("bos_token", model.bos);
    if (model.eos_id >= 0) roles_.set_default("eos_token", model.eos);
    if (model.unknown_id >= 0) roles_.set_default("unk_token", model.unknown);
  }
  auto tokens = roles_.has_extra() ? std::vector<AddedToken>() : sentencepiece_added_tokens(model);
  return finish_with_frame(parts, std::move(tokens), row);
}

// transformers fills the ids up to the last that a file names, and puts the extra tokens behind them.
std::vector<AddedToken> VocabularyFolder::tokens_beyond(std::size_t vocabulary) const {
  constexpr std::int64_t kMost = 65'536;  // Llama 3 and Kimi have 256
  const auto declared = roles_.added_by_id();
  const auto first = static_cast<std::int64_t>(vocabulary);
  const auto end = declared.empty() ? first : std::max(first, declared.rbegin()->first + 1);
  if (end - first > kMost) {
    fail("{}: added token {} has the id {}, though {} has {} tokens; is it the right file?", folder_.origin,
         declared.rbegin()->second, end - 1, name_, vocabulary);
  }
  std::vector<AddedToken> tokens;
  for (auto id = first; id < end; ++id) {
    const auto found = declared.find(id);
    tokens.push_back(special_token(found == declared.end() ? reserved_token(id) : found->second));
  }
  for (const auto& content : roles_.extra()) tokens.push_back(special_token(content));
  return tokens;
}

LoadedTokenizer VocabularyFolder::load_tiktoken() {
  const bool is_read = name_ == kSentencePieceFile || name_ == kTiktokenFile;
  if (!is_read) {
    const auto name = class_name(folder_, config_.part());
    fail(
        "{}: the pattern of tokenizer_class {} is not known here, and transformers does not open the file; known are "
        "{}; save a tokenizer.json beside it",
        origin_, name.empty() ? "(none)" : name, tiktoken_class_names());
  }
  const auto ranked = read_tiktoken(content_, origin_);
  const auto* const row = choose_class();
  notes_.push_back(fmt::format("{}: no pattern is in the file; that of transformers (Llama 3's) is assumed", origin_));
  const auto parts = ranked_tokenizer_json(ranked, {.pattern = kDefaultPattern}, origin_);
  return finish_with_frame(parts, tokens_beyond(ranked.size()), row);
}

LoadedTokenizer VocabularyFolder::load_tiktoken_class(const TiktokenClass& row) {
  const auto ranked = read_tiktoken(content_, origin_);
  auto special = special_tokens_of(row, ranked.size(), roles_.added_by_id());
  const auto parts = tiktoken_class_json(row, ranked, special, origin_);
  notes_.push_back(fmt::format(
      "{}: read with the pattern and the special tokens of {}; AutoTokenizer needs trust_remote_code for the same ids",
      origin_, class_name(folder_, config_.part())));
  return finish(parts, std::move(special), nullptr);
}

LoadedTokenizer VocabularyFolder::load_tekken() {
  const auto tekken = read_tekken(content_, origin_);
  const auto* const row = choose_class();
  const auto parts =
      ranked_tokenizer_json(tekken.ranked, {.pattern = tekken.pattern, .special = tekken.special}, origin_);
  std::vector<AddedToken> tokens;
  for (const auto& content : tekken.special)
    tokens.push_back({.content = content, .special = true, .normalized = false});
  return finish_with_frame(parts, std::move(tokens), row);
}

}  // namespace

LoadedTokenizer load_from_vocabulary(const TokenizerFolder& folder, const FolderFile& config) {
  return VocabularyFolder(folder, config).load();
}

}  // namespace normtweak::text
