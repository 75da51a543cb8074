// GPTQ: columns are rounded one after the other, and each error is made up for by the columns that follow.
// Frantar et al., arXiv 2210.17323; in the form of hessian_factor.h, which needs no inverse.
#pragma once
#include "normtweak/quantize/hessian_factor.h"
#include "normtweak/weights/affine_weight.h"

namespace normtweak::quantize {

struct GptqOptions {
  int bits = 4;                           // 2, 3, 4, 6 or 8
  int group_size = 128;                   // input columns per scale; 0: one scale per output channel
  bool symmetric = false;                 // zero-point fixed at 2^(bits-1)
  bool float_zeros = false;               // zero-points are floats of the scale type, not whole codes
  bool search_grid = false;               // shrink each group's range to the least |error|^2.4
  at::ScalarType scale_type = at::kHalf;  // what the scales are stored in
};

struct GptqResult {
  weights::AffineWeight weight;
  double layer_error = 0;  // tr(ΔW H ΔWᵀ) with the Hessian before damping
  double damping = 0;      // the share that was added to the Hessian's diagonal
};

// weight: f32 [out, in], on the device of the factor. Its rows do not affect each other: the weights of several linears
// with one input may be stacked, quantized in one call and taken apart again.
//
// Without act-order the grid of a group is found when its first column is reached, from the weights as the feedback has
// changed them by then. With act-order all grids are found beforehand, from the original weights ("static groups"), so
// that groups are runs of neighbouring columns in either case and files need no list of groups (g_idx).
// Dead columns are rounded to nearest: calibration text that never used them is no proof that they are never used.
//
// Throws Error if the weight is not finite, if group_size does not divide `in`, or if a scale does not fit its type.
GptqResult quantize_gptq(const at::Tensor& weight, const HessianFactor& factor, const GptqOptions& options);

}  // namespace normtweak::quantize
