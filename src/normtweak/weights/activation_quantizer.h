// How the input of a quantized linear is rounded before the product, in the notation of compressed-tensors' "fake
// quantization" (docs/methods.md, "Rounded activations"):
//     q = round(clamp(x / scale + zero, least, most)),   x ≈ (q - zero) * scale
// With integers of b bits, least = -2^(b-1) and most = 2^(b-1) - 1; with FP8 (E4M3), ±448, and round() to the nearest
// value. Scale and zero-point follow from the least and the largest of the values that share them, 0 included:
//     symmetric    scale = max|x| / ((most - least) / 2),   zero = 0
//     asymmetric   scale = (max - min) / (most - least),    zero = round(clamp(least - min / scale, least, most))
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

namespace normtweak::weights {

struct ActivationSettings {
  int bits = 8;           // 2 to 8
  bool symmetric = true;  // about 0
  bool floats = false;    // FP8 instead of integers; then 8 bits, symmetric
  bool dynamic = true;    // each token's own range; otherwise one for all, observed beforehand
  int group_size = 0;     // of dynamic ranges: input columns that share one; 0: the whole token

  bool operator==(const ActivationSettings&) const = default;
};

struct ActivationQuantizer {
  ActivationSettings settings = {};
  // Unless dynamic:
  float scale = 1;                         // already rounded to `scale_type`
  int zero = 0;                            // a code
  at::ScalarType scale_type = at::kFloat;  // stored dtype of the scale
};

// The static quantizer for inputs between these bounds. Throws Error if the scale does not fit its dtype.
ActivationQuantizer with_range(const ActivationSettings& settings, float least, float largest,
                               at::ScalarType scale_type);

// x: [..., in] → the same shape and dtype, rounded. Computed in F32, and rounded once more if x has 16 bits.
at::Tensor round_activations(const ActivationQuantizer& quantizer, const at::Tensor& x);

// Where a static range lets a gradient pass: bool, of the shape of x; false for what was clamped.
at::Tensor within_range(const ActivationQuantizer& quantizer, const at::Tensor& x);

// "8 bits", "FP8": what an input is rounded to; and "a token", "a tensor" or "groups of 128": what shares a range.
std::string describe(const ActivationSettings& settings);

}  // namespace normtweak::weights
