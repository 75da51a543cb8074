// A linear's weight as integer codes with a scale and a zero-point for each group of input columns:
//     W[o, i] = (codes[o, i] - zeros[o, g]) * scales[o, g],   g = i / group_size
// If `order` is defined, the codes are sorted by group instead: their column c is the weight's column order[c].
#pragma once
#include <ATen/core/Tensor.h>

namespace normtweak::weights {

struct AffineWeight {
  at::Tensor codes;                         // u8  [out, in], each in [0, 2^bits)
  at::Tensor scales;                        // f32 [out, groups]; master copy, already rounded to the types below
  at::Tensor zeros;                         // f32 [out, groups]; whole numbers unless `float_zeros`
  int bits = 4;                             // 2..8
  int group_size = 0;                       // input columns that share a scale; 0: the whole row
  bool symmetric = false;                   // every zero is 2^(bits-1) and is not stored, unless `stores_zeros`
  bool float_zeros = false;                 // the format stores zeros as floats, so that they can be tuned
  at::ScalarType scale_type = at::kHalf;    // stored dtype of scales and float zeros
  at::ScalarType loaded_type = at::kFloat;  // dtype of the model, in which readers load them, as far as it is known
  at::Tensor order = {};                    // i64 [in], a permutation; undefined: columns are in the weight's order
  bool stores_zeros = false;                // even if symmetric, as in GPTQ
};

// Throws Error naming shapes if codes, scales and zeros do not fit together.
void check_shapes(const AffineWeight& weight);

std::int64_t columns_per_group(const AffineWeight& weight);

// [out, in] with columns in the order of the codes → in that of the weight, and back.
at::Tensor in_weight_order(const AffineWeight& weight, const at::Tensor& columns);
at::Tensor in_code_order(const AffineWeight& weight, const at::Tensor& columns);

// [out, in] in `type`, computed in f32 and rounded once. No gradients: model/linear.h has them.
at::Tensor dequantize(const AffineWeight& weight, at::ScalarType type = at::kFloat);

// Stored bits per weight: codes, scales and zero-points.
double bits_per_weight(const AffineWeight& weight);

}  // namespace normtweak::weights
