#include "normtweak/quantize/hessian.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/quantize/full_precision.h"

namespace normtweak::quantize {
namespace {

constexpr std::int64_t kTokensAtOnce = 8192;  // bounds the F32 copy of a large batch of hidden states

}  // namespace

HessianAccumulator::HessianAccumulator(std::int64_t in, c10::Device device)
    : sum_(at::zeros({in, in}, at::TensorOptions(at::kFloat).device(device))),
      tokens_(at::zeros({}, at::TensorOptions(at::kLong).device(device))) {}

void HessianAccumulator::add(const at::Tensor& x, const std::optional<at::Tensor>& mask) {
  const at::NoGradGuard no_grad;
  const FullPrecisionProducts full_precision;
  const auto in = sum_.size(0);
  if (x.dim() == 0 || x.size(-1) != in || !x.is_floating_point()) {
    fail("inputs of a linear with {} columns must be floats [..., {}]; found {} {}", in, in,
         c10::toString(x.scalar_type()), c10::str(x.sizes()));
  }
  const auto rows = x.reshape({-1, in});
  if (mask && mask->numel() != rows.size(0)) {
    fail("the mask must name each of the {} tokens; found {}", rows.size(0), c10::str(mask->sizes()));
  }
  const auto kept = mask ? mask->reshape({-1, 1}).to(sum_.device(), at::kBool) : at::Tensor();
  for (std::int64_t first = 0; first < rows.size(0); first += kTokensAtOnce) {
    const auto count = std::min(kTokensAtOnce, rows.size(0) - first);
    auto chunk = rows.narrow(0, first, count).to(sum_.device(), at::kFloat);
    if (kept.defined()) chunk = at::where(kept.narrow(0, first, count), chunk, 0.0);  // not a product: NaN * 0 is NaN
    sum_.addmm_(chunk.t(), chunk);
  }
  tokens_.add_(kept.defined() ? kept.sum() : at::zeros_like(tokens_).add_(rows.size(0)));
}

at::Tensor HessianAccumulator::mean() const {
  const auto count = tokens();
  if (count == 0) fail("no calibration token reached this linear; use more calibration text");
  return sum_ / static_cast<double>(count);
}

std::int64_t HessianAccumulator::tokens() const { return tokens_.item<std::int64_t>(); }

double layer_error(const at::Tensor& weight, const at::Tensor& approximation, const at::Tensor& hessian) {
  const FullPrecisionProducts full_precision;
  const auto difference = weight - approximation;
  return at::matmul(difference, hessian).mul_(difference).sum(at::kDouble).item<double>();
}

}  // namespace normtweak::quantize
