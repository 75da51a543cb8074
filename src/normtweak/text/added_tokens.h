// Tokens that are extracted from the text before any other processing: the added_tokens of tokenizer.json.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/text/json_part.h"
#include "normtweak/text/normalizer.h"
#include "normtweak/text/token_trie.h"
#include "normtweak/text/vocabulary.h"

namespace normtweak::text {

struct AddedToken {
  std::string content;       // as matched and decoded: normalised if `normalized`
  bool special = false;      // may be skipped when decoding
  bool single_word = false;  // not within a word
  bool lstrip = false;       // also matches the white space before it
  bool rstrip = false;       // ... and after it
  bool normalized = true;    // matched in the normalised text instead of the raw text
};

// A part of the text: a token, or text between tokens.
struct Piece {
  Span span;
  std::int64_t token = -1;  // an id; -1: text
};

class AddedTokens {
 public:
  // A token that is in `vocabulary` keeps its id there. Others get the next free ids in file order, whatever id the
  // file gives, as in the `tokenizers` package. Throws Error for malformed entries, and for those without
  // one of the flags.
  AddedTokens(const JsonPart& part, const Vocabulary& vocabulary, const Normalizer& normalizer);

  // normalized: match the tokens that apply after normalisation, instead of those before.
  std::vector<Piece> split(std::string_view text, bool normalized) const;

  const std::map<std::int64_t, AddedToken>& by_id() const { return by_id_; }
  // As spelled in the file.
  const std::map<std::string, std::int64_t, std::less<>>& by_content() const { return by_content_; }
  bool is_special(const std::string& content) const { return special_.contains(content); }

 private:
  std::int64_t assign_id(const std::string& content, const Vocabulary& vocabulary) const;

  std::map<std::int64_t, AddedToken> by_id_;
  std::map<std::string, std::int64_t, std::less<>> by_content_;
  std::set<std::string> special_;
  std::array<TokenTrie, 2> tries_;  // [normalized]
};

}  // namespace normtweak::text
