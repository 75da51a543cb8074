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

// The grids of columns, f32 and contiguous. Adjacent columns share one: they are kept once, and looked up by column.
struct ColumnGrids {
  at::Tensor scales = {};   // [grids, out]
  at::Tensor lowest = {};   // [grids, out]: smallest and largest step of the grid, -zero and 2^bits - 1 - zero
  at::Tensor highest = {};  // [grids, out]
  at::Tensor phase = {};    // [grids, out]: offset of the grid's steps from integers, at most half a step; undefined if
                            // zero-points are integers
  at::Tensor curve = {};    // [16]: the only steps that there are, ascending; undefined: all from lowest to highest,
                            // which with a curve are not read

  // In place of all these. A step is then the place of a value in its codebook.
  at::Tensor codebooks = {};  // [grids, entries, out], entries a power of 2 and ascending

  at::Tensor grid_of = {};  // i32 [columns]: the grid of each column

  // The same grids for the columns at these places.
  ColumnGrids for_columns(std::int64_t first, std::int64_t last) const;
};

// All tensors are f32 and transposed: the columns of the weight are rows, so that a column is contiguous. All but
// `feedback` are contiguous. `out` must be a multiple of kRoundedLanes.
struct GptqBlock {
  at::Tensor weight;     // [columns, out]
  at::Tensor pull = {};  // [columns, out]: the feedback of all columns before the block; undefined: there is none
  ColumnGrids grids;
  at::Tensor feedback;  // [columns, columns], any stride between its rows: M of HessianFactor
  at::Tensor steps;     // [columns, out], written: value / scale, or the place in the codebook
  at::Tensor errors;    // [columns, out], written: weight - value

  // Of coordinate descent: [columns, out], what the columns were rounded to before. The change from these is then fed
  // back, in place of the error; it is taken from them and added to `errors`.
  at::Tensor values = {};
};

void round_block(const GptqBlock& block);

// Why this device leaves the rounding to the CPU; "" if it does not.
std::string slow_rounding_reason(c10::Device device);

}  // namespace normtweak::quantize
