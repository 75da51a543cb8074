// GPTQ's inner loop: rounds the columns of one block one after the other, each with the feedback of the errors before
// it. A hand-written loop in the calling thread on the CPU, a custom CUDA kernel on a GPU. If the kernel is
// unavailable, the block is copied to the CPU and back.
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

namespace normtweak::quantize {

inline constexpr int kRoundedLanes =
    16;  // output channels rounded side by side on the CPU: one AVX-512 register, two of AVX2
inline constexpr int kRoundedColumns = 128;  // maximum columns per block; the GPTQ paper's lazy batch
inline constexpr int kRoundedChannels = 96;  // output channels per CPU task

// The grids of columns, f32.
struct ColumnGrids {
  at::Tensor scales = {};   // [columns, out]
  at::Tensor lowest = {};   // [columns, out]: smallest and largest step of the grid, -zero and 2^bits - 1 - zero
  at::Tensor highest = {};  // [columns, out]
  at::Tensor phase = {};    // [columns, out]: offset of the grid's steps from integers, at most half a step; undefined
                            // if zero-points are integers
  at::Tensor curve = {};    // [16]: the only steps that there are, ascending; undefined: all from lowest to highest,
                            // which with a curve are not read

  // In place of all these. A step is then the place of a value in its codebook.
  at::Tensor codebooks = {};    // [codebooks, entries, out], entries a power of 2 and ascending
  at::Tensor codebook_of = {};  // i32 [columns]: the codebook of each column
};

// All tensors are contiguous, f32 unless said otherwise, and transposed: the columns of the weight are rows, so that a
// column is contiguous. `out` must be a multiple of kRoundedLanes.
struct GptqBlock {
  at::Tensor target;    // [columns, out]: the weights plus the feedback of all columns before the block. On return,
                        // each column is the value that was rounded, with the feedback of all columns before it
  at::Tensor original;  // [columns, out]: the weights
  ColumnGrids grids;
  at::Tensor feedback;  // [columns, columns]: M of HessianFactor
  at::Tensor steps;     // [columns, out], written: value / scale, or the place in the codebook
  at::Tensor errors;    // [columns, out], written: original - value
};

void round_block(const GptqBlock& block);

// Why this device leaves the rounding to the CPU; "" if it does not.
std::string slow_rounding_reason(c10::Device device);

}  // namespace normtweak::quantize
