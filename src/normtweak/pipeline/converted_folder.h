// A quantized model in a folder of another format.
#pragma once
#include <memory>

#include "normtweak/model/checkpoint.h"
#include "normtweak/pipeline/converted_model.h"

namespace normtweak::pipeline {

struct SaveFormat;

// source: a quantized folder, or a GGUF file. The same codes, scales and zero-points; all other tensors keep their
// values and dtypes.
std::unique_ptr<ConvertedModel> converted_folder(const model::Checkpoint& source, const SaveFormat& format);

}  // namespace normtweak::pipeline
