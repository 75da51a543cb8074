// FP8 in the variant E4M3, which has no infinities.
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/weights/scaled_weight.h"

namespace normtweak::weights {

inline constexpr double kLargestE4m3 = 448;

// The value of each byte, f32 [256]; NaN where it has none.
at::Tensor e4m3_table();

// codes: u8 [out, in]; scales: f32 [out, 1], or [1, 1] of the whole weight; values of `scale_type`.
ScaledWeight float8_weight(const at::Tensor& codes, const at::Tensor& scales, at::ScalarType scale_type);

// Whether it is what float8_weight() makes, with a scale for each row, or with one for the whole weight.
bool is_float8_by_channel(const ScaledWeight& weight);
bool is_float8_by_tensor(const ScaledWeight& weight);

}  // namespace normtweak::weights
