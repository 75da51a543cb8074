// From text to words: the pre_tokenizer of tokenizer.json, a tree that is flattened into steps when it is read.
#pragma once
#include <deque>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "normtweak/text/json_part.h"
#include "normtweak/text/split.h"

namespace normtweak::text {

// Words in the order of the text. The views are of the text that was cut, or of `storage` where a step changed it.
struct Words {
  std::vector<std::string_view> views;
  std::deque<std::string> storage;  // a deque: what is in it never moves
};

// Reads Sequence, Split, Digits, Punctuation and ByteLevel; the last must be among them, for the models here are
// byte-level. Offsets are not kept, so trim_offsets changes nothing.
class PreTokenizer {
 public:
  explicit PreTokenizer(const JsonPart& part);  // throws Error naming what is not supported

  // Appends the words of `text` (valid UTF-8) as plain bytes, not in the byte-level alphabet.
  void split(std::string_view text, Words& words) const;

 private:
  struct PrefixSpace {};  // a space before every piece that has none
  struct SpellBytes {};   // into the byte-level alphabet, for steps that follow it
  using Step = std::variant<SplitRule, PrefixSpace, SpellBytes>;

  void add(const JsonPart& part);
  void add_byte_level(const JsonPart& part);
  static void apply(const Step& step, Words& words, std::size_t first);  // to the words from `first` on

  std::vector<Step> steps_;
  bool is_byte_level_ = false;
};

}  // namespace normtweak::text
