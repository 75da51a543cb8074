// The metadata of a GGUF file that holds a model.
#pragma once
#include <cstdint>
#include <vector>

#include "normtweak/formats/gguf_writer.h"
#include "normtweak/pipeline/gguf_file_tensors.h"

namespace normtweak::pipeline {

// original: a model in whatever format; those of a GGUF file are carried over. tensors: with their types. file_type:
// `general.file_type`. Throws Error naming what llama.cpp's format cannot say of the model: a hyperparameter, or its
// tokenizer.
formats::GgufKeys gguf_file_keys(const model::Checkpoint& original, const std::vector<GgufTensor>& tensors,
                                 std::uint32_t file_type);

}  // namespace normtweak::pipeline
