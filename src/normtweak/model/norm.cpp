#include "normtweak/model/norm.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/rms_norm.h>

namespace normtweak::model {

at::Tensor forward(const Norm& norm, const at::Tensor& hidden, at::ScalarType type) {
  if (norm.kind == NormKind::none) return hidden.to(type);
  const auto input = hidden.to(at::kFloat);
  const auto weight = norm.shift == 0 ? norm.weight : norm.weight + norm.shift;
  const auto normed = [&](const at::Tensor& scale, const at::Tensor& bias) {
    const at::IntArrayRef shape = input.sizes().slice(input.dim() - 1);
    return norm.kind == NormKind::rms ? at::rms_norm(input, shape, scale, norm.epsilon)
                                      : at::layer_norm(input, shape, scale, bias, norm.epsilon);
  };
  if (weight.dim() == 1) return normed(weight, norm.bias).to(type);
  const auto scaled = normed({}, {}) * weight;
  return (norm.bias.defined() ? scaled + norm.bias : scaled).to(type);
}

}  // namespace normtweak::model
