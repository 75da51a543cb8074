// The tokenizer that transformers' AutoTokenizer makes of a folder. It is not that of tokenizer.json alone:
//
//     tokenizer_config.json    more added tokens, the tokens with a role (BOS, EOS, ...), and the class. Some classes
//                              use of tokenizer.json no more than vocabulary, merges and post-processor
//     tokenizer.model          the vocabulary in folders without tokenizer.json: SentencePiece's or tiktoken's
//     tiktoken.model           tiktoken's; also NAME.tiktoken, which code in the folder reads, not transformers itself
//     tekken.json              Mistral's
//     special_tokens_map.json  tokens with a role, in older folders
//     added_tokens.json        added tokens, in older folders
//
// Tokens with a role are matched in the text, and take new ids at the end if the vocabulary lacks them. The source is
// transformers 5 (TokenizersBackend and _from_pretrained). As there, add_bos_token and add_eos_token mean nothing
// beside a tokenizer.json, whose post-processor decides; beside another vocabulary they alone do.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/text/added_tokens.h"
#include "normtweak/text/tokenizer.h"

namespace normtweak::text {

inline constexpr std::string_view kSentencePieceFile = "tokenizer.model", kTiktokenFile = "tiktoken.model",
                                  kTekkenFile = "tekken.json", kTiktokenEnding = ".tiktoken";

// Whether a file of this name may hold the vocabulary of a folder without tokenizer.json.
bool is_vocabulary_file(std::string_view name);

// The one of these names that is such a file, if any. Throws Error naming `origin`, the folder, if there are two:
// transformers takes the one that the system lists first.
std::optional<std::string> find_vocabulary_file(const std::vector<std::string>& names, std::string_view origin);

struct VocabularyFile {
  std::string_view name, content;
};

// The content of files, as far as they are there.
struct TokenizerFolder {
  std::string_view tokenizer;                          // tokenizer.json; may be empty
  std::optional<VocabularyFile> vocabulary;            // read where there is no tokenizer.json
  std::optional<std::string_view> config;              // tokenizer_config.json
  std::optional<std::string_view> special_tokens_map;  // special_tokens_map.json
  std::optional<std::string_view> added_tokens;        // added_tokens.json
  std::string model_type;       // of config.json: it decides on the class where tokenizer_config.json names none
  std::string tokenizer_class;  // of config.json, used if tokenizer_config.json has none
  std::string origin;           // the folder, for messages
  bool keep_makings = false;    // whether LoadedTokenizer::makings is wanted
};

// What the tokenizer was made of: the parts of a tokenizer.json, as the class of the tokenizer has them.
struct TokenizerMakings {
  Json document;  // without `added_tokens`; with the vocabulary, which may take hundreds of megabytes
  std::vector<AddedToken> added;
};

struct LoadedTokenizer {
  Tokenizer tokenizer;
  // What the user should know: a class that is not known here, or one that leaves out parts of tokenizer.json; added
  // tokens that do not get the ids that a file gives them.
  std::vector<std::string> notes;
  std::map<std::string, std::string> roles = {};  // "bos_token" → "<s>", of those that there are
  std::optional<TokenizerMakings> makings = {};   // with `keep_makings`
};

// Each file is parsed once, and no more of it than its text is kept. Throws Error naming the file and the part that is
// malformed or not supported.
LoadedTokenizer load_tokenizer(const TokenizerFolder& folder);

}  // namespace normtweak::text
