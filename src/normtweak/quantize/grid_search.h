// Which of several grids loses least of a group of weights. On the CPU a loop over lanes, on a GPU a kernel of our own;
// where that is not to be had, the groups go to the CPU.
#pragma once
#include <ATen/core/Tensor.h>

namespace normtweak::quantize {

inline constexpr int kSearchedLanes = 16;  // rows side by side on the CPU: one AVX-512 register, two of AVX2

struct GridSearch {
  at::Tensor groups;         // f32 [rows, group_size], contiguous
  at::Tensor scales, zeros;  // f32 [candidates, rows], contiguous: the grids of each row
  int bits = 4;              // of the codes
  bool float_zeros = false;  // whether zeros are other than whole numbers
};

// For each row the first of the candidates whose sum of |error|^2.4 is least: i64 [rows]. Sums are F32 ones, and
// powers right to a few millionths.
at::Tensor least_error(const GridSearch& search);

}  // namespace normtweak::quantize
