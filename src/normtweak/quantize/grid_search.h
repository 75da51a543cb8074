// Grid search: which of several candidate grids fits a group of weights best. A vectorised loop on the CPU, a custom
// CUDA kernel on a GPU. If the kernel is unavailable, the groups are copied to the CPU.
#pragma once
#include <ATen/core/Tensor.h>

namespace normtweak::quantize {

inline constexpr int kSearchedLanes = 16;  // rows side by side on the CPU: one AVX-512 register, two of AVX2

struct GridSearch {
  at::Tensor groups;         // f32 [rows, group_size], contiguous
  at::Tensor scales, zeros;  // f32 [candidates, rows], contiguous: the grids of each row
  int bits = 4;              // of the codes
  bool float_zeros = false;  // whether zeros need not be integers
};

// For each row the index of the candidate with the smallest sum of |error|^2.4, the first on ties: i64 [rows]. Sums are
// F32; the powers have a relative error of a few 1e-6.
at::Tensor least_error(const GridSearch& search);

}  // namespace normtweak::quantize
