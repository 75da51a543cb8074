// From tokens back to text: the decoder of tokenizer.json, a tree that is flattened into steps when read.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/text/json_part.h"

namespace normtweak::text {

// Reads null and the decoders of the `tokenizers` package but CTC, which is for the frames of speech.
class Decoder {
 public:
  // is_byte_level: the tokens are spelled in the byte-level alphabet. Without a decoder this spelling alone is undone,
  // where the `tokenizers` package would put spaces between tokens, which no model wants.
  Decoder(const JsonPart& part, bool is_byte_level);  // throws Error naming what is unsupported

  // The text of tokens in a row. Bytes that are no UTF-8 stay as they are if ByteLevel or nothing made them, and become
  // U+FFFD otherwise. Throws Error if the steps make the text grow excessively.
  std::string decode(std::vector<std::string> tokens) const;

  // What one token means within a text: its bytes, with spaces where it has marks for them. Throws Error as above.
  std::string piece(std::string_view token) const;

  struct Step {
    // most: maximum size of the result, of all tokens together, in bytes.
    std::function<void(std::vector<std::string>& tokens, std::size_t most)> change;
    std::function<std::string(std::string token, std::size_t most)> within = nullptr;  // null: the same within a text
  };

 private:
  void add(const JsonPart& part);

  std::vector<Step> steps_;
  std::string_view between_ = "";
};

}  // namespace normtweak::text
