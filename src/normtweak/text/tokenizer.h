// Byte-level BPE tokenizers, from Hugging Face's tokenizer.json. What else such a file may hold (Unigram, WordPiece,
// BPE over characters, dropout) is refused by name; its `truncation` and `padding` are left aside, as transformers
// does.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/json.h"

namespace normtweak::text {

class Tokenizer {
 public:
  // `document`: the content of tokenizer.json. Throws Error naming `origin` and the part that is not supported.
  Tokenizer(const Json& document, std::string_view origin);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // The same ids as the `tokenizers` package. `add_special_tokens`: with those of the post-processor (BOS, ...). Bytes
  // that are not UTF-8 count as U+FFFD, as Python reads them. Safe to call from several threads.
  std::vector<std::int64_t> encode(std::string_view text, bool add_special_tokens) const;

  // Bytes of the ids put together; not necessarily valid UTF-8 when a character is cut. Ids without a token, which
  // models with padded embeddings have, give nothing.
  std::string decode(const std::vector<std::int64_t>& ids, bool skip_special_tokens) const;

  std::int64_t size() const;                                        // ids are in [0, size())
  std::optional<std::int64_t> id_of(std::string_view token) const;  // a token as tokenizer.json spells it
  std::string bytes_of(std::int64_t id) const;                      // the text of one token
  bool is_special(std::int64_t id) const;
  std::vector<std::int64_t> prefix() const;  // what encode("", true) puts first, BOS mostly; or empty

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace normtweak::text
