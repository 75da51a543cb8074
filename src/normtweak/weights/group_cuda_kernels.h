// The kernels of group_kernels.h on NVIDIA GPUs, each one pass over memory.
#pragma once
#include <c10/core/ScalarType.h>

#include "normtweak/weights/group_kernels.h"

namespace normtweak::weights {

// Whether the kernels can serve: on a GPU that compiles them, with groups of a multiple of eight columns, and floats of
// 32 or 16 bits. Otherwise by_operations does the same.
bool has_group_kernels(const AffineWeight& weight, at::ScalarType type);

at::Tensor dequantize_on_gpu(const AffineWeight& weight, at::ScalarType type);
GroupGradients reduce_on_gpu(const at::Tensor& gradient, const AffineWeight& weight, bool with_zeros);

}  // namespace normtweak::weights
