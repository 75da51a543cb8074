// A linear's weight as integer codes with a scale and a zero-point for each group of input columns:
//     W[o, i] = (codes[o, i] - zeros[o, g]) * scales[o, g],   g = i / group_size
#pragma once
#include <ATen/core/Tensor.h>

namespace normtweak::weights {

struct AffineWeight {
  at::Tensor codes;                       // u8  [out, in], each in [0, 2^bits)
  at::Tensor scales;                      // f32 [out, groups]; master copy, already rounded to `scale_type`
  at::Tensor zeros;                       // f32 [out, groups]; whole numbers unless `float_zeros`
  int bits = 4;                           // 2..8
  int group_size = 0;                     // input columns that share a scale; 0: the whole row
  bool symmetric = false;                 // every zero is 2^(bits-1) and is not stored
  bool float_zeros = false;               // the format stores zeros as floats, so that they can be tuned
  at::ScalarType scale_type = at::kHalf;  // stored dtype of scales and float zeros
};

// Throws Error naming shapes if codes, scales and zeros do not fit together.
void check_shapes(const AffineWeight& weight);

std::int64_t columns_per_group(const AffineWeight& weight);

// [out, in] in `type`, computed in f32 and rounded once. No gradients: model/linear.h has them.
at::Tensor dequantize(const AffineWeight& weight, at::ScalarType type = at::kFloat);

// Stored bits per weight: codes, scales and zero-points.
double bits_per_weight(const AffineWeight& weight);

}  // namespace normtweak::weights
