// The result of `quantize` as a GGUF file, in the types of a preset of llama.cpp's.
#pragma once
#include <memory>

#include "normtweak/model/checkpoint.h"
#include "normtweak/pipeline/result_writer.h"

namespace normtweak::pipeline {

struct SaveFormat;
struct StoreOptions;

// Prescribes the block type of every matrix, unless the preset is one of floats, which takes linears however they were
// quantized, and dequantizes them. Where rules quantize a linear to another block type, or skip it, the file follows;
// two linears that share a tensor of the file, as experts do, must not differ. Throws Error naming what llama.cpp's
// format cannot say of the model.
std::unique_ptr<ResultWriter> gguf_result(const model::Checkpoint& original, const SaveFormat& format,
                                          const StoreOptions& options);

}  // namespace normtweak::pipeline
