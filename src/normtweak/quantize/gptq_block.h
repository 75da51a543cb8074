// GPTQ's inner loop: the columns of one block, rounded one after the other, each with the errors of those before it.
// On the CPU it is a loop of our own, in the calling thread, and on a GPU a kernel of our own; where that is not to be
// had, the block goes to the CPU and back.
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

namespace normtweak::quantize {

inline constexpr int kRoundedLanes =
    16;  // output channels rounded side by side on the CPU: one AVX-512 register, two of AVX2
inline constexpr int kRoundedColumns = 128;  // columns of a block at most; the lazy batch of GPTQ's paper
inline constexpr int kRoundedChannels = 96;  // output channels that are worth a thread's turn on the CPU

// All tensors are f32 and contiguous, with the columns of the weight as rows, so that a column is one run of memory.
// `out` must be a multiple of kRoundedLanes.
struct GptqBlock {
  at::Tensor target;    // [columns, out]: the weights plus the feedback of all columns before the block. On return
                        // each column holds what was rounded: with the feedback of the columns before it
  at::Tensor original;  // [columns, out]: the weights
  at::Tensor scales;    // [columns, out]
  at::Tensor lowest;    // [columns, out]: the least and the largest step of the grid, -zero and 2^bits - 1 - zero
  at::Tensor highest;   // [columns, out]
  at::Tensor phase;     // [columns, out]: every step of the grid is a whole number plus this, within half a step;
                        // undefined where zero-points are whole
  at::Tensor feedback;  // [columns, columns]: M of HessianFactor
  at::Tensor steps;     // [columns, out], written: value / scale
  at::Tensor errors;    // [columns, out], written: original - value
};

void round_block(const GptqBlock& block);

// Why this device leaves the rounding to the CPU, or "" where it does not.
std::string slow_rounding_reason(c10::Device device);

}  // namespace normtweak::quantize
