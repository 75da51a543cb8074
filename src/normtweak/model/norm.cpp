#include "normtweak/model/norm.h"

#include <ATen/ops/layer_norm.h>
#include <ATen/ops/rms_norm.h>

namespace normtweak::model {

at::Tensor forward(const Norm& norm, const at::Tensor& hidden, at::ScalarType type) {
  const at::IntArrayRef shape = norm.weight.sizes();
  const auto normed = norm.kind == NormKind::rms ? at::rms_norm(hidden, shape, norm.weight, norm.epsilon)
                                                 : at::layer_norm(hidden, shape, norm.weight, norm.bias, norm.epsilon);
  return normed.to(type);
}

}  // namespace normtweak::model
