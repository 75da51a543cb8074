#include "normtweak/quantize/moments.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/mm.h>

#include "normtweak/base/device/matrix_product.h"

namespace normtweak::quantize {

std::vector<at::Tensor> bf16_parts(const at::Tensor& values) {
  auto first = values.to(at::kBFloat16);
  if (values.scalar_type() == at::kBFloat16) return {first};
  auto second = (values - first).to(at::kBFloat16);
  return {std::move(first), std::move(second)};
}

void add_moment_of_parts(const at::Tensor& sum, const at::Tensor& left, const at::Tensor& right) {
  for (const auto& part : bf16_parts(left)) {
    if (sum.is_cuda()) {
      sum.add_(at::mm(part.t(), right, at::kFloat));
    } else {
      add_matmul_transposed(sum, part.to(at::kFloat).t(), right.to(at::kFloat).t());
    }
  }
}

void add_moment(const at::Tensor& sum, const at::Tensor& left, const at::Tensor& right) {
  if (sum.is_cuda() && right.scalar_type() == at::kBFloat16) return add_moment_of_parts(sum, left, right);
  const auto wide = right.to(at::kFloat);
  add_matmul_transposed(sum, (left.is_same(right) ? wide : left.to(at::kFloat)).t(), wide.t());
}

}  // namespace normtweak::quantize
