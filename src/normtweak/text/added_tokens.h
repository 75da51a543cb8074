// Tokens that are extracted from the text before any other processing: the added_tokens of tokenizer.json.
#pragma once
#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "normtweak/text/json_part.h"
#include "normtweak/text/normalizer.h"
#include "normtweak/text/special_spellings.h"
#include "normtweak/text/token_table.h"
#include "normtweak/text/vocabulary.h"

namespace normtweak::text {

// A file may hold more than a million.
struct AddedToken {
  std::string content;
  bool special = false;      // may be skipped when decoding
  bool single_word = false;  // not within a word
  bool lstrip = false;       // also matches the white space before it
  bool rstrip = false;       // ... and after it
  bool normalized = true;    // normalised first, and matched in the normalised text instead of the raw text

  auto operator<=>(const AddedToken&) const = default;
};

// A token, and the id that a file gives it.
struct DeclaredToken {
  AddedToken token;
  std::int64_t id = 0;
};

// Takes the list of that name out of a tokenizer.json. Throws Error naming `origin` for malformed entries, and for
// those without one of the flags.
std::vector<DeclaredToken> take_added_tokens(Json& document, std::string_view origin);

// A part of the text: a token, or text between tokens.
struct Piece {
  Span span;
  std::int64_t token = -1;  // an id; -1: text
};

class AddedTokens {
 public:
  // A token that is in `vocabulary` keeps its id there. Others get the next free ids in order, whatever id the file
  // gives, as in the `tokenizers` package. Of equal contents the last decides on the flags. Throws Error naming
  // `origin` if the normalizer makes them excessively long.
  AddedTokens(std::vector<AddedToken> tokens, const Vocabulary& vocabulary, const Normalizer& normalizer,
              std::string_view origin);
  AddedTokens(const AddedTokens&) = delete;  // it holds views of its own strings
  AddedTokens& operator=(const AddedTokens&) = delete;
  ~AddedTokens() = default;

  // normalized: match the tokens that apply after normalisation, instead of those before.
  std::vector<Piece> split(std::string_view text, bool normalized, SpecialSpellings special) const;

  std::optional<std::string_view> content(std::int64_t id) const;   // as matched; none if no added token has this id
  std::optional<std::int64_t> id_of(std::string_view token) const;  // as spelled in the file
  bool is_special(std::string_view token) const;                    // as spelled in the file
  std::int64_t largest_id() const { return largest_id_; }           // -1 if there is none

 private:
  struct Known {
    std::int64_t id = -1;
    std::uint32_t place = 0;  // of a token with that content in `tokens_`
    bool special = false;     // one of those with that content is
  };
  using Numbered = std::pair<std::int64_t, std::uint32_t>;  // an id, and its token's place in `tokens_`

  void list_contents();
  void number(const Vocabulary& vocabulary);
  std::optional<std::size_t> row_of(std::string_view content) const;  // in `by_content_`
  void build_tables(const Normalizer& normalizer, std::string_view origin);
  std::string_view matched(std::uint32_t place) const;
  std::optional<std::uint32_t> place_of(std::int64_t id) const;

  std::vector<AddedToken> tokens_;
  std::map<std::uint32_t, std::string> normal_;  // by place: contents that the normalizer changes
  std::vector<Known> by_content_;                // sorted, each content once; a hash table takes four times the memory
  std::vector<Numbered> by_id_;                  // sorted
  std::int64_t largest_id_ = -1;
  std::array<TokenTable, 2> tables_;  // [normalized]
};

}  // namespace normtweak::text
