// Unigram in GGUF metadata (tokenizer.ggml.model "t5"): what llama.cpp does with a text before it looks tokens up, and
// which tokenizers do the same.
//     normalised by a charsmap of SentencePiece's, runs of spaces made one, none at the ends, one mark in front
// Source: llm_tokenizer_ugm of llama.cpp's src/llama-vocab.cpp, and the vocabularies that its converter writes.
#pragma once
#include <cstdint>
#include <vector>

#include "normtweak/text/json_part.h"

namespace normtweak::text {

// The charsmap of a tokenizer.json with a Unigram model; empty: it has none. Throws Error naming the step that
// llama.cpp does not have: other normalizers and pre-tokenizers, a model with byte fallback or without an unknown
// token.
std::vector<std::uint8_t> unigram_charsmap(const JsonPart& document);

}  // namespace normtweak::text
