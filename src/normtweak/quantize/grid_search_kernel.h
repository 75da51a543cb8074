// The CUDA kernel that searches grids.
#pragma once
#include "normtweak/base/cuda_kernel.h"

namespace normtweak::quantize {

inline constexpr int kSearchedRowsPerBlock = 4;

// Parameters: pointers to the groups, scales and zeros of GridSearch and to the result, f32 and i64; rows, size of a
// group and candidates, long long; the top code, float; whether zero-points are other than whole numbers, int. One warp
// for each row.
CudaKernel& grid_search_kernel();

}  // namespace normtweak::quantize
