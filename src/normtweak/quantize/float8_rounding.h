// Round to nearest in FP8 (E4M3), with a scale for each output channel, or one for all, that takes its largest weight
// to 448, the largest value: code = e4m3(W / scale), scale = max|W| / 448. Micikevicius et al., arXiv 2209.05433.
#pragma once
#include "normtweak/weights/scaled_weight.h"

namespace normtweak::quantize {

// weight: f32 [out, in], on any device; one_scale: for the whole weight. Throws Error if it is not finite, or if a
// scale does not fit its type.
weights::ScaledWeight quantize_float8(const at::Tensor& weight, at::ScalarType scale_type, bool one_scale);

}  // namespace normtweak::quantize
