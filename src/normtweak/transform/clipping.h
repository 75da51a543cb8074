// AWQ's search for the range of each group (arXiv 2306.00978): clipping the largest weights gives all others a finer
// step, and costs least where the inputs are small.
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/model/family.h"
#include "normtweak/quantize/quantizers.h"

namespace normtweak::transform {

// Whether the ranges of a linear with this plan are searched here: it has an affine grid, which its quantizer does not
// search for itself, and is no query and no key, whose errors meet in a product.
bool clips(model::LinearRole role, const quantize::LinearPlan& plan);

// weight, f32 [out, in], with each group clamped to ± (1 - i/20) of its largest |w|, i = 0 ... 9. Of these, the least
// error of the group's share of the output, δᵀ H δ with the group's block of the Hessian and δ = w - Q(clamped w).
at::Tensor clip(const at::Tensor& weight, const at::Tensor& hessian, const quantize::LinearPlan& plan);

}  // namespace normtweak::transform
