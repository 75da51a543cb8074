// y = x Wᵀ + b, with a weight that is float or quantized.
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

#include "normtweak/weights/activation_quantizer.h"
#include "normtweak/weights/weight.h"

namespace normtweak::model {

struct Linear {
  std::string name = {};  // Hugging Face module name: "model.layers.3.mlp.down_proj"
  weights::Weight weight = {};
  at::Tensor bias = {};                                 // f32 [out], or undefined
  std::optional<at::ScalarType> stored_bias_type = {};  // dtype in a file that is changed in place
  bool changed = false;                                 // its float weight is no longer that of the checkpoint
  // How x is rounded before the product; nullopt: not at all. Of quantized weights alone.
  std::optional<weights::ActivationQuantizer> input_quantizer = {};
};

// x: [..., in] → [..., out] in the type of x. Differentiable in x, the bias, and the scales, zeros or codebook of a
// quantized weight. A quantized weight is dequantized for the product and again for the gradient, never kept. The
// gradients of its floats come from one product, reduced by group. Where x is rounded, its gradient is that of the
// rounded values as if rounding were the identity (straight-through), and 0 beyond a static range; rounded values are
// not kept either, so that linears with one input go on sharing it.
at::Tensor forward(const Linear& linear, const at::Tensor& x);

// The weight as used in products: [out, in] in `type`.
at::Tensor values(const weights::Weight& weight, at::ScalarType type);

}  // namespace normtweak::model
