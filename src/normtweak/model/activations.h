// Memory that a pass with gradients keeps besides the weights. Estimates, for planning memory and grouping rows.
#pragma once
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>

#include "normtweak/model/config.h"

namespace normtweak::model {

// Bytes that autograd keeps per token and block, with compute dtype `type`.
std::int64_t graph_bytes(const ModelConfig& config, c10::Device device, at::ScalarType type);

// Bytes per row of `tokens` tokens if only each block's input is kept, in F32, and the block is recomputed in the
// backward pass.
std::int64_t rerun_bytes(const ModelConfig& config, c10::Device device, at::ScalarType type, std::int64_t tokens);

}  // namespace normtweak::model
