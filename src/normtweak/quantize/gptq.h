// GPTQ: columns are rounded one after the other, and the columns that remain compensate for each error.
// Frantar et al., arXiv 2210.17323; in the form of hessian_factor.h, which needs no inverse.
#pragma once
#include "normtweak/quantize/grid.h"
#include "normtweak/quantize/hessian_factor.h"
#include "normtweak/weights/affine_weight.h"

namespace normtweak::quantize {

struct GptqResult {
  weights::AffineWeight weight;
  double layer_error = 0;  // tr(ΔW H ΔWᵀ) with the Hessian before damping
  double damping = 0;      // the damping used, as a share of the mean diagonal
};

// weight: f32 [out, in], on the device of the factor. Rows are independent: the weights of several linears that share
// an input may be stacked, quantized in one call and split again.
//
// Without act-order the grid of a group is fitted when its first column is reached, to the weights as updated by the
// feedback so far. With act-order all grids are fitted beforehand, to the original weights ("static groups"). In either
// case groups are runs of adjacent columns, so that files need no g_idx.
// Dead columns are rounded to nearest, since text other than the calibration text may use them.
//
// Throws Error if the weight is not finite, if group_size does not divide `in`, or if a scale does not fit its type.
GptqResult quantize_gptq(const at::Tensor& weight, const HessianFactor& factor, const AffineOptions& options);

}  // namespace normtweak::quantize
