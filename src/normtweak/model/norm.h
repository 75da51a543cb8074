// LayerNorm and RMSNorm, whose floats norm tweaking tunes.
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>
#include <string>

#include "normtweak/model/config.h"

namespace normtweak::model {

struct Norm {
  std::string name = {};  // Hugging Face module name: "model.layers.3.input_layernorm"
  NormKind kind = NormKind::rms;
  double epsilon = 1e-5;
  double shift = 0;                                // added to the weight
  at::Tensor weight = {};                          // f32 [size], or [heads, size] for a norm of each head
  at::Tensor bias = {};                            // like the weight, or undefined
  std::optional<at::ScalarType> stored_type = {};  // dtype in a file that is changed in place
};

// hidden: f32 or the compute dtype, [..., size] → the same shape, in `type`. Computed in F32. A norm of kind `none`
// only converts.
at::Tensor forward(const Norm& norm, const at::Tensor& hidden, at::ScalarType type);

}  // namespace normtweak::model
