// The tokenizer of a folder as keys `tokenizer.*` of a GGUF file.
#pragma once
#include "normtweak/formats/gguf_writer.h"
#include "normtweak/model/checkpoint.h"

namespace normtweak::model {

// Adds the vocabulary, the special tokens and the chat templates. Without a tokenizer, says that there is none. Throws
// Error naming what llama.cpp does not have.
void add_tokenizer_keys(const Checkpoint& checkpoint, formats::GgufKeys& keys);

}  // namespace normtweak::model
