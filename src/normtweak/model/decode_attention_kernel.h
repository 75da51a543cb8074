// The CUDA kernel of decode_attention.h, compiled for each head size.
#pragma once
#include <cstdint>

#include "normtweak/base/device/cuda_kernel.h"

namespace normtweak::model {

inline constexpr int kDecodeWarps = 4;  // of a block of threads

// Query heads that share a key-value head and are computed by one block of threads, which reads the cache once for all.
std::int64_t queries_together(std::int64_t queries);

// head_size: channels of a head; queries: query heads of each key-value head. Null if the kernel does not support them.
CudaKernel* decode_attention_kernel(std::int64_t head_size, std::int64_t queries);

}  // namespace normtweak::model
