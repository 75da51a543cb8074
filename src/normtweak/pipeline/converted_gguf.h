// A quantized folder as a GGUF file.
#pragma once
#include <memory>

#include "normtweak/model/checkpoint.h"
#include "normtweak/pipeline/converted_model.h"

namespace normtweak::pipeline {

struct SaveFormat;

// Each linear gets the smallest block type that holds its values exactly (weights/exact_blocks.h). All other tensors
// keep their values: matrices in their own dtype, and in F32 what llama.cpp has so, as norms and biases.
std::unique_ptr<ConvertedModel> converted_gguf(const model::Checkpoint& source, const SaveFormat& format);

}  // namespace normtweak::pipeline
