// GGUF names a pre-tokenizer by a word, tokenizer.ggml.pre; this table says what each word means.
#pragma once
#include <span>
#include <string>
#include <string_view>

namespace normtweak::text {

struct GgufPreTokenizer {
  std::string_view name;                           // of tokenizer.ggml.pre
  std::span<const std::string_view> regexes = {};  // applied one after the other, their matches isolated
  bool gpt2_regex = false;     // and GPT-2's after them, as a ByteLevel pre-tokenizer has it built in
  bool nfc = false;            // the text is normalised first; GGUF does not say so, the originals do
  bool ignore_merges = false;  // a word that is a token as a whole is not merged
  bool add_bos = false;        // where tokenizer.ggml.add_bos_token is not there
};

// Null for a word that is not in the table.
const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name);

std::string gguf_pre_tokenizer_names();  // "default, gpt-2, ..."

}  // namespace normtweak::text
