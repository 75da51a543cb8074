// SmoothQuant, arXiv 2211.10438: outliers of a linear's inputs are moved into its weight.
#pragma once
#include "normtweak/transform/block_transform.h"

namespace normtweak::transform {

// Equation 4: s_j = max|X_j|^α / max|W_j|^(1 - α), f32 [in]. largest_input: f32 [in]; weights: f32 [out, in] of all
// linears that read it and are quantized. The maximum of a weight's column is at least 1e-5, and so is a factor. A
// channel without any input keeps the factor 1.
at::Tensor smoothing_scales(const at::Tensor& largest_input, const std::vector<at::Tensor>& weights, double alpha);

// With the α of the options for every fold; or with that of 0.1, 0.2 ... 0.9 for which the block, rounded as planned,
// has the output with the least error.
Transformed smoothquant(const BlockToTransform& what, const BlockCalibration& calibration,
                        const TransformOptions& options);

}  // namespace normtweak::transform
