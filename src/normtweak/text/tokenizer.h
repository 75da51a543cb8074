// Tokenizers of Hugging Face's tokenizer.json: BPE of bytes or characters, Unigram, WordLevel and WordPiece. What is
// not supported (dropout) is refused by name; `truncation` and `padding` are ignored, as in transformers.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/json/json.h"
#include "normtweak/text/special_spellings.h"

namespace normtweak::text {

struct AddedToken;

// Copies share what they hold.
class Tokenizer {
 public:
  // `document`: the content of tokenizer.json. Throws Error naming `origin` and the unsupported part.
  Tokenizer(const Json& document, std::string_view origin);
  // The same with these tokens in place of its `added_tokens`.
  Tokenizer(const Json& document, std::vector<AddedToken> added_tokens, std::string_view origin);

  // From now on encode() and prefix(), of all copies, throw Error for a token whose id is not below `embedding_rows`:
  // the model would look it up beyond the end of its embedding.
  void limit_ids(std::int64_t embedding_rows);

  // Puts these tokens around each text, in place of those of the post-processor; empty: none. Throws Error for a token
  // that is not one.
  void surround(std::string_view before, std::string_view after);

  // The same ids as the `tokenizers` package. add_special_tokens: add those of the post-processor (BOS, ...). Invalid
  // UTF-8 is read as U+FFFD, as in Python with errors="replace". `name`: what messages call the text, usually its file.
  // Throws Error naming the tokenizer's file and `name` if a regex or the normalizer gives up on the text. Thread-safe.
  std::vector<std::int64_t> encode(std::string_view text, bool add_special_tokens, std::string_view name = {},
                                   SpecialSpellings special = SpecialSpellings::recognised) const;

  // The text of the ids, as the decoder of tokenizer.json makes it; of a byte-level model their bytes, which are not
  // valid UTF-8 if a character is split. Ids without a token, as in models with padded embeddings, contribute nothing.
  std::string decode(const std::vector<std::int64_t>& ids, bool skip_special_tokens) const;

  // What `ids` add to the text of `before`: a leading space stays, which decode() takes off where a text starts.
  std::string decode_after(const std::vector<std::int64_t>& before, const std::vector<std::int64_t>& ids,
                           bool skip_special_tokens) const;

  std::int64_t size() const;                                        // ids are in [0, size())
  std::optional<std::int64_t> id_of(std::string_view token) const;  // a token as spelled in tokenizer.json
  std::string bytes_of(std::int64_t id) const;                      // one token's text, in the midst of others
  bool is_special(std::int64_t id) const;
  std::vector<std::int64_t> prefix() const;  // the prefix that encode("", true) adds, usually BOS; may be empty

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace normtweak::text
