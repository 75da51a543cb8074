// The CUDA kernel that rounds a GptqBlock.
#pragma once
#include "normtweak/base/cuda_kernel.h"

namespace normtweak::quantize {

inline constexpr int kChannelsPerBlock = 8;  // neighbours in memory: 8 floats are what the GPU reads at once

// Parameters: pointers to the tensors of GptqBlock in the order of its members, `phase` 0 where there is none; then
// columns and out, int. One warp for each output channel.
CudaKernel& gptq_block_kernel();

}  // namespace normtweak::quantize
