#include "normtweak/model/head.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tanh.h>

#include "normtweak/base/device/matrix_product.h"

namespace normtweak::model {
namespace {

at::Tensor finished(at::Tensor products, double scale, double cap) {
  if (scale != 1) products = products * scale;
  return cap > 0 ? at::tanh(products / cap) * cap : products;
}

}  // namespace

Head head_of(const Decoder& decoder) {
  return {.weight = values(decoder.head.weight, decoder.type),
          .bias = decoder.head.bias,
          .scale = decoder.config.logit_scale,
          .cap = decoder.config.logit_cap};
}

at::Tensor logits(const Head& head, const at::Tensor& hidden) {
  const auto products = wide_matmul_transposed(hidden, head.weight);
  if (!head.bias.defined() && head.scale == 1 && head.cap == 0) return products;
  const auto wide = products.to(at::kFloat);
  return finished(head.bias.defined() ? wide + head.bias : wide, head.scale, head.cap);
}

at::Tensor hidden_gradient(const Head& head, const at::Tensor& capped, const at::Tensor& gradient) {
  if (head.cap > 0) gradient.mul_(1 - (capped / head.cap).square());
  if (head.scale != 1) gradient.mul_(head.scale);
  return matmul_transposed(gradient.to(head.weight.scalar_type()), head.weight.t());
}

at::Tensor logits(const Decoder& decoder, const at::Tensor& hidden) {
  return finished(forward(decoder.head, hidden).to(at::kFloat), decoder.config.logit_scale, decoder.config.logit_cap);
}

}  // namespace normtweak::model
