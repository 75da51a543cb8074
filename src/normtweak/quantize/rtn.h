// Round to nearest: the baseline for all other quantizers.
#pragma once
#include "normtweak/quantize/grid.h"
#include "normtweak/weights/affine_weight.h"

namespace normtweak::quantize {

// weight: f32 [out, in], on any device. Throws Error if it is not finite, if group_size does not divide `in`, or if a
// scale does not fit its type.
weights::AffineWeight quantize_rtn(const at::Tensor& weight, const AffineOptions& options);

}  // namespace normtweak::quantize
