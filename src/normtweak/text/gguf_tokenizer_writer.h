// A tokenizer in the terms of GGUF metadata: what gguf_tokenizer.h reads, from the same tables.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "normtweak/text/tokenizer_folder.h"

namespace normtweak::text {

// The values of the keys `tokenizer.ggml.KEY`.
struct GgufTokenizer {
  std::string model;  // gpt2 (byte-level BPE), llama (SentencePiece's BPE) or t5 (Unigram)
  std::string pre;    // the name of the pre-tokenizer
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types;                         // GgufTokenType
  std::vector<float> scores;                               // of llama and t5
  std::vector<std::string> merges;                         // of gpt2 alone: "a b"
  std::vector<std::pair<std::string, std::uint32_t>> ids;  // "bos_token_id" → 1
  bool add_bos = false, add_eos = false;
  std::optional<bool> add_space_prefix;                 // of llama and t5
  std::optional<bool> remove_extra_whitespaces;         // of t5 alone
  std::vector<std::uint8_t> precompiled_charsmap = {};  // of t5 alone; empty: none
};

// loaded: with its makings. rows: of the model's embedding; ids without a token get [PAD7] and the like, as the
// converter of llama.cpp has it. Throws Error naming the part of the tokenizer that llama.cpp does not have: other
// models than BPE and Unigram, normalizers, splits without a name, tokens around a text but BOS and EOS.
GgufTokenizer gguf_tokenizer_of(const LoadedTokenizer& loaded, std::int64_t rows, std::string_view origin);

}  // namespace normtweak::text
