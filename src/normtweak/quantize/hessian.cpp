#include "normtweak/quantize/hessian.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "normtweak/base/device/matrix_product.h"
#include "normtweak/base/device/type_name.h"
#include "normtweak/base/error.h"
#include "normtweak/quantize/moments.h"
#include "normtweak/quantize/product_precision.h"

namespace normtweak::quantize {
HessianAccumulator::HessianAccumulator(std::int64_t in, c10::Device device)
    : sum_(at::zeros({in, in}, at::TensorOptions(at::kFloat).device(device))),
      total_weight_(at::zeros({}, at::TensorOptions(at::kDouble).device(device))) {}

void HessianAccumulator::add(const at::Tensor& x, const std::optional<at::Tensor>& weights) {
  const at::NoGradGuard no_grad;
  const FullPrecisionProducts full_precision;
  const auto in = sum_.size(0);
  if (x.dim() == 0 || x.size(-1) != in || !x.is_floating_point()) {
    fail("inputs of a linear with {} columns must be floats [..., {}]; found {} {}", in, in, type_name(x.scalar_type()),
         c10::str(x.sizes()));
  }
  const auto rows = x.reshape({-1, in});
  if (weights && weights->numel() != rows.size(0)) {
    fail("there must be a weight for each of the {} tokens; found {}", rows.size(0), c10::str(weights->sizes()));
  }
  // The square root of the weight on both sides of the product keeps the sum exactly symmetric.
  const auto roots = weights ? weights->reshape({-1, 1}).to(sum_.device(), at::kFloat).sqrt() : at::Tensor();
  for (std::int64_t first = 0; first < rows.size(0); first += kTokensAtOnce) {
    const auto count = std::min(kTokensAtOnce, rows.size(0) - first);
    auto chunk = rows.narrow(0, first, count).to(sum_.device());
    if (roots.defined()) {
      const auto root = roots.narrow(0, first, count);
      const auto weighed = weights->scalar_type() == at::kBool ? chunk : chunk.to(at::kFloat) * root;
      chunk = at::where(root > 0, weighed, 0.0);  // a product alone would not do: NaN * 0 is NaN
    }
    add_symmetric_moment(sum_, chunk);
  }
  if (weights) {
    total_weight_.add_(weights->to(sum_.device()).sum(at::kDouble));
  } else {
    total_weight_.add_(static_cast<double>(rows.size(0)));
  }
}

at::Tensor HessianAccumulator::mean() const {
  const auto total = total_weight();
  if (total == 0) fail("no calibration token that counts reached this linear; use more calibration text");
  auto mean = sum_ / total;
  mirror_upper(mean);
  return mean;
}

double HessianAccumulator::total_weight() const { return total_weight_.item<double>(); }

double layer_error(const at::Tensor& weight, const at::Tensor& approximation, const at::Tensor& hessian) {
  const FullPrecisionProducts full_precision;
  const auto difference = weight - approximation;
  return matmul_transposed(difference, hessian).mul_(difference).sum(at::kDouble).item<double>();
}

}  // namespace normtweak::quantize
