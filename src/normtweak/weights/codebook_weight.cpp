#include "normtweak/weights/codebook_weight.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/zeros.h>

#include "normtweak/base/error.h"

namespace normtweak::weights {

at::Tensor dequantize(const CodebookWeight& weight, at::ScalarType type) {
  const c10::NoGradGuard no_gradients;
  const auto out = weight.codes.size(0), entries = std::int64_t{1} << weight.bits;
  if (weight.codebook.sizes() != std::vector<std::int64_t>{out, entries}) {
    fail("codebook must be [{}, {}] for {} output channels at {} bits; found {}", out, entries, out, weight.bits,
         c10::str(weight.codebook.sizes()));
  }
  return weight.codebook.to(type).gather(1, weight.codes.to(at::kLong));
}

at::Tensor reduce_to_codebook(const at::Tensor& gradient, const CodebookWeight& weight) {
  auto sums = at::zeros(weight.codebook.sizes(), weight.codebook.options());
  sums.scatter_add_(1, weight.codes.to(at::kLong), gradient.to(at::kFloat));
  return sums;
}

double bits_per_weight(const CodebookWeight& weight) {
  const double table_bits =
      8.0 * static_cast<double>(c10::elementSize(weight.codebook_type)) * static_cast<double>(weight.codebook.size(1));
  return weight.bits + table_bits / static_cast<double>(weight.codes.size(1));
}

}  // namespace normtweak::weights
