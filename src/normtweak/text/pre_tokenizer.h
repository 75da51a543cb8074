// From text to words: the pre_tokenizer of tokenizer.json, a tree that is flattened into steps when read.
#pragma once
#include <deque>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "normtweak/text/json_part.h"
#include "normtweak/text/split.h"

namespace normtweak::text {

// Words in text order, as views of the input text, or of `storage` if a step changed it.
struct Words {
  std::vector<std::string_view> views;
  std::deque<std::string> storage;  // a deque, so that elements never move
};

// Reads Sequence, Split, Digits, Punctuation and ByteLevel; ByteLevel is required, since only byte-level models are
// supported. Offsets are not tracked, so trim_offsets has no effect.
class PreTokenizer {
 public:
  explicit PreTokenizer(const JsonPart& part);  // throws Error naming what is unsupported

  // Appends the words of `text` (valid UTF-8) as plain bytes, not in the byte-level alphabet.
  void split(std::string_view text, Words& words) const;

 private:
  struct PrefixSpace {};  // adds a leading space to pieces without one
  struct SpellBytes {};   // into the byte-level alphabet, for steps that follow it
  using Step = std::variant<SplitRule, PrefixSpace, SpellBytes>;

  void add(const JsonPart& part);
  void add_byte_level(const JsonPart& part);
  static void apply(const Step& step, Words& words, std::size_t first);  // to the words from `first` on

  std::vector<Step> steps_;
  bool is_byte_level_ = false;
};

}  // namespace normtweak::text
