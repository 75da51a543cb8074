// A linear's weight as integer codes in blocks, whose scales are floats, or floats times small integers that are codes
// as well (llama.cpp's nested scales):
//     W[o, i] = factor * (codes[o, i] - 128) * sub_scales[o, g] * scales[o, b] + sub_minima[o, g] * minima[o, b],
//     g = i / sub_size,  b = i / block_size
#pragma once
#include <ATen/core/Tensor.h>

#include <string_view>

namespace normtweak::weights {

inline constexpr int kBlockZero = 128;  // what codes have added

struct BlockWeight {
  at::Tensor codes;                       // u8  [out, in]: 128 + a signed integer
  at::Tensor sub_scales;                  // i8  [out, in / sub_size]; undefined: 1
  at::Tensor sub_minima;                  // i8  [out, in / sub_size]; undefined: 1
  at::Tensor scales;                      // f32 [out, in / block_size]; master copy, already rounded to `scale_type`
  at::Tensor minima;                      // the same; undefined: there are none
  int sub_size = 32, block_size = 32;     // input columns
  float factor = 1;                       // a fixed power of two, so that products with it are exact
  double bits = 4.5;                      // stored per weight, all included
  std::string_view type_name = {};        // of the file's format, such as Q4_K; a literal
  at::ScalarType scale_type = at::kHalf;  // stored dtype of scales and minima
};

// [out, in] in `type`, computed in f32 and rounded once. No gradients: model/linear.h has them.
at::Tensor dequantize(const BlockWeight& weight, at::ScalarType type = at::kFloat);

// f32 [out, in / sub_size]: factor * sub_scales * scales, and sub_minima * minima (undefined if there are none).
at::Tensor sub_block_scales(const BlockWeight& weight);
at::Tensor sub_block_minima(const BlockWeight& weight);

double bits_per_weight(const BlockWeight& weight);

// Gradients of its floats from the gradient G of the dequantized weight, f32 [out, in / block_size]:
//     d / d scales = factor Σ_block G (codes - 128) sub_scales        d / d minima = Σ_block G sub_minima
struct BlockGradients {
  at::Tensor scales, minima;  // minima: undefined if the weight has none, or if not requested
};
// gradient: [out, in], f32 or bf16. Sums are f32.
BlockGradients reduce_to_blocks(const at::Tensor& gradient, const BlockWeight& weight, bool with_minima);

}  // namespace normtweak::weights
