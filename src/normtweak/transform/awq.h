// AWQ, arXiv 2306.00978: channels that matter, those with large inputs, are scaled up before rounding.
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

#include "normtweak/quantize/quantizers.h"

namespace normtweak::transform {

// A linear that reads the scaled channels, and is quantized.
struct ScaledReader {
  at::Tensor weight;  // f32 [out, in]
  quantize::LinearPlan plan;
  at::Tensor hessian;       // f32 [in, in]: the mean of x xᵀ over its tokens
  double total_weight = 0;  // of these tokens: how much its error counts
};

struct ScaleChoice {
  double alpha = 0;   // 0: all scales are 1
  at::Tensor scales;  // f32 [in]
};

// s_j = mean|X_j|^α, normalised to √(max s · min s) = 1, each at least 1e-4 before that. α is that of 0, 1/20 ... 19/20
// with the least error of the readers' outputs, Σ_readers tr(Δ H Δᵀ) · total weight with Δ = W - Q(W diag(s)) diag(s)⁻¹
// and Q as planned_rounding() does. The error is exact for all calibration tokens. mean_absolute: f32 [in].
ScaleChoice search_scales(const at::Tensor& mean_absolute, const std::vector<ScaledReader>& readers);

}  // namespace normtweak::transform
