// LayerNorm and RMSNorm, whose floats norm tweaking tunes.
#pragma once
#include <ATen/core/Tensor.h>

#include <string>

#include "normtweak/model/config.h"

namespace normtweak::model {

struct Norm {
  std::string name;  // Hugging Face module name: "model.layers.3.input_layernorm"
  NormKind kind = NormKind::rms;
  double epsilon = 1e-5;
  at::Tensor weight;  // f32 [hidden]
  at::Tensor bias;    // f32 [hidden], or undefined
};

// hidden: f32 [..., hidden] → the same shape, in `type`. Computed in F32.
at::Tensor forward(const Norm& norm, const at::Tensor& hidden, at::ScalarType type);

}  // namespace normtweak::model
