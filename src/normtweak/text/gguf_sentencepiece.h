// SentencePiece's tokenizers in GGUF metadata, as the `model` and the other parts of a tokenizer.json.
#pragma once
#include <string>
#include <vector>

#include "normtweak/text/json_part.h"

namespace normtweak::text {

// tokenizer.ggml.model "llama": BPE of characters. Merges that the file does not have follow from
// the tokens and scores.
Json llama_tokenizer_json(const JsonPart& metadata);

// "t5": Unigram.
Json t5_tokenizer_json(const JsonPart& metadata);

// Notes on what was assumed; see gguf_tokenizer_notes().
std::vector<std::string> llama_tokenizer_notes(const JsonPart& metadata);

}  // namespace normtweak::text
