// Converts the tokenizer in GGUF metadata to the files that Hugging Face's libraries read, so that Tokenizer is the
// only loader and a converted model includes its tokenizer.
//
//     tokenizer.ggml.model    gpt2: byte-level BPE; llama: BPE of SentencePiece; t5: Unigram
//     tokenizer.ggml.pre      for gpt2, the pre-tokenizer by name, see gguf_pre_tokenizers.h
//
// The other keys are listed in gguf_vocabulary.h.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/json/json.h"

namespace normtweak::text {

// `metadata`: a JSON object with the keys of the GGUF file. Both throw Error naming `origin` and the key.
Json tokenizer_json_from_gguf(const Json& metadata, std::string_view origin);

// tokenizer_config.json: what transformers' AutoTokenizer needs in addition.
Json tokenizer_config_from_gguf(const Json& metadata, std::string_view origin);

// What was assumed where the file says nothing, with what to do about it; one line each. Throws as these two.
std::vector<std::string> gguf_tokenizer_notes(const Json& metadata, std::string_view origin);

}  // namespace normtweak::text
