// From text to words: the pre_tokenizer of tokenizer.json, a tree that is flattened into steps when read.
#pragma once
#include <deque>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "normtweak/text/growth.h"
#include "normtweak/text/json_part.h"
#include "normtweak/text/metaspace.h"
#include "normtweak/text/split.h"
#include "normtweak/text/word_encoder.h"

namespace normtweak::text {

// Words in text order, as views of the input text, or of `storage` if a step changed it.
struct Words {
  std::vector<std::string_view> views;
  std::deque<std::string> storage;  // a deque, so that elements never move
};

// Reads null and the pre-tokenizers of the `tokenizers` package. Offsets are not tracked, so trim_offsets has no
// effect.
class PreTokenizer {
 public:
  // takes_bytes: the model that the words are for takes them as bytes. Throws Error naming what is unsupported.
  PreTokenizer(const JsonPart& part, bool takes_bytes);

  // Bytes if the model takes them and all words are spelled in the byte-level alphabet.
  Spelling spelling() const { return spelling_; }

  // The words of `text` (valid UTF-8), spelled as above. is_first: the text is the start of what was given. Throws
  // Error if the text grows by more than `growth` still allows.
  Words split(std::string_view text, bool is_first, Growth& growth) const;

 private:
  struct PrefixSpace {};  // adds a leading space to pieces without one
  struct SpellBytes {};   // into the byte-level alphabet
  using Step = std::variant<SplitRule, PrefixSpace, SpellBytes, Metaspace>;
  class Run;

  void add(const JsonPart& part);
  void add_byte_level(const JsonPart& part);
  void choose_spelling(bool takes_bytes);

  std::vector<Step> steps_;
  Spelling spelling_ = Spelling::text;
  bool undo_bytes_ = false;  // the words are spelled, and a step that follows has seen them so
};

}  // namespace normtweak::text
