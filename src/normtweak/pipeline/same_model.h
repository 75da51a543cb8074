// Checks that a quantized model can have been made from a given float model.
#pragma once
#include "normtweak/model/checkpoint.h"

namespace normtweak::pipeline {

// Compares what quantization leaves unchanged: the architecture and every hyperparameter that affects the forward pass.
// The two may differ in format, dtype and spelling of the config and, with rotary positions, in the context length.
// Throws Error naming the first fact that differs, and both values.
void check_same_model(const model::Checkpoint& quantized, const model::Checkpoint& reference);

}  // namespace normtweak::pipeline
