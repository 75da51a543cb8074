// How much a pass with gradients holds beside the weights. Estimates, which decide only how rows are grouped.
#pragma once
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>

#include "normtweak/model/config.h"

namespace normtweak::model {

// Bytes that autograd keeps of one token in one block, where products take `type`.
std::int64_t graph_bytes(const ModelConfig& config, c10::Device device, at::ScalarType type);

// Bytes of a row of `tokens` where only the input of every block is kept, in F32, and each block runs once more on the
// way back.
std::int64_t rerun_bytes(const ModelConfig& config, c10::Device device, at::ScalarType type, std::int64_t tokens);

}  // namespace normtweak::model
