// What quantization will make of a weight, without the inputs: the stand-in by which transforms are searched.
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/quantize/quantizers.h"

namespace normtweak::transform {

// weight: f32 [out, in]. Quantized as planned, but rounded to nearest, or by plain k-means, where the plan needs a
// Hessian, which depends on the transform.
weights::Weight planned_rounding(const at::Tensor& weight, const quantize::LinearPlan& plan);

}  // namespace normtweak::transform
