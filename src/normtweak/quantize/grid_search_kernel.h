// The CUDA kernel of the grid search.
#pragma once
#include "normtweak/base/device/cuda_kernel.h"

namespace normtweak::quantize {

inline constexpr int kSearchedRowsPerBlock = 4;

// Parameters: pointers to the groups, scales and zeros of GridSearch (f32) and to the result (i64); rows, group size
// and candidates as long long; the largest code as float; whether zero-points need not be integers as int. One warp per
// row.
CudaKernel& grid_search_kernel();

}  // namespace normtweak::quantize
