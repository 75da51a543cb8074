// The CUDA kernel that rounds a GptqBlock.
#pragma once
#include "normtweak/base/device/cuda_kernel.h"

namespace normtweak::quantize {

inline constexpr int kChannelsPerBlock = 8;  // adjacent in memory: the GPU reads 8 floats in one transaction

// Parameters: pointers to the tensors of GptqBlock in the order of its members, null if undefined; then columns, out,
// the entries of a codebook and the floats from one row of `feedback` to the next as int. One warp per output channel.
CudaKernel& gptq_block_kernel();

}  // namespace normtweak::quantize
