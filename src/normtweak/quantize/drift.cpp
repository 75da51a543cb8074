#include "normtweak/quantize/drift.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "normtweak/base/device/matrix_product.h"
#include "normtweak/quantize/full_precision.h"
#include "normtweak/quantize/moments.h"

namespace normtweak::quantize {
namespace {

// W D + R, which H⁻¹ turns into the correction of the weight.
at::Tensor wanted_change(const at::Tensor& weight, const Drift& drift) {
  auto change = matmul_transposed(weight, drift.inputs.t());
  if (drift.residual.defined()) change += drift.residual;
  return change;
}

}  // namespace

DriftAccumulator::DriftAccumulator(std::int64_t in, std::int64_t hidden, c10::Device device) {
  const auto options = at::TensorOptions(at::kFloat).device(device);
  sum_.inputs = at::zeros({in, in}, options);
  if (hidden > 0) sum_.residual = at::zeros({hidden, in}, options);
}

void DriftAccumulator::add(const at::Tensor& exact, const at::Tensor& x, const at::Tensor& exact_residual,
                           const at::Tensor& residual, const std::optional<at::Tensor>& weights) {
  const c10::NoGradGuard no_gradients;
  const FullPrecisionProducts full_precision;
  const auto device = sum_.inputs.device();
  const auto tokens = x.numel() / x.size(-1);
  for (std::int64_t first = 0; first < tokens; first += kTokensAtOnce) {
    const auto count = std::min(kTokensAtOnce, tokens - first);
    const auto in_own_type = [&](const at::Tensor& all) {
      return all.reshape({tokens, -1}).narrow(0, first, count).to(device);
    };
    const auto rows = [&](const at::Tensor& all) { return in_own_type(all).to(at::kFloat); };
    auto chunk = in_own_type(x);
    const auto weight = weights ? rows(*weights) : at::Tensor();
    // Tokens of weight 0 may hold any values; a product alone would not do, since NaN * 0 is NaN.
    const auto weighed = [&](const at::Tensor& change) {
      return weight.defined() ? at::where(weight > 0, change * weight, 0.0) : change;
    };
    const auto change = weighed(rows(exact) - chunk.to(at::kFloat));
    if (weight.defined()) chunk = at::where(weight > 0, chunk, 0.0);
    add_moment(sum_.inputs, change, chunk);
    if (sum_.residual.defined()) {
      const auto residual_change = weighed(rows(exact_residual) - rows(residual));
      add_moment(sum_.residual, residual_change, chunk);
    }
  }
}

void DriftAccumulator::sum_over(const Processes& processes) {
  processes.all_reduce_sum({sum_.inputs});
  if (sum_.residual.defined()) processes.all_reduce_sum({sum_.residual});
}

Drift DriftAccumulator::mean(double total_weight) const {
  return {sum_.inputs / total_weight, sum_.residual.defined() ? sum_.residual / total_weight : at::Tensor()};
}

at::Tensor correct_drift(const at::Tensor& weight, const HessianFactor& factor, const Drift& drift, double share) {
  const c10::NoGradGuard no_gradients;
  const FullPrecisionProducts full_precision;
  const auto change = wanted_change(weight, drift);
  const auto ordered = [&](const at::Tensor& columns) {
    return factor.order.defined() ? columns.index_select(1, factor.order) : columns;
  };
  // Solve Z M D Mᵀ = change for Z; M has a unit diagonal.
  const auto solve = [](const at::Tensor& matrix, const at::Tensor& right, bool upper) {
    return at::linalg_solve_triangular(matrix, right, upper, /*left=*/false, /*unitriangular=*/true);
  };
  auto solved = solve(factor.feedback.t(), ordered(change), /*upper=*/false);
  solved = at::where(factor.live > 0, solved / factor.weights, 0.0);
  solved = solve(factor.feedback, solved, /*upper=*/true);
  if (factor.order.defined()) solved = solved.index_select(1, at::argsort(factor.order));
  return weight + solved * share;
}

// The error on the other half is a parabola in the share: const - 2 share tr(Δ Cᵀ) + share² tr(Δ H Δᵀ), with the
// correction Δ of one half, and C = W D + R and H of the other.
double share_that_carries_over(const at::Tensor& weight, const std::array<DriftHalf, 2>& halves,
                               const FactorOptions& options) {
  const c10::NoGradGuard no_gradients;
  const FullPrecisionProducts full_precision;
  double gain = 0, cost = 0;
  for (std::size_t i = 0; i < halves.size(); ++i) {
    const auto &made_from = halves.at(i), &other = halves.at(1 - i);
    const auto change = correct_drift(weight, made_from.hessian.factor(options), made_from.drift, 1) - weight;
    gain += (change * wanted_change(weight, other.drift)).sum(at::kDouble).item<double>();
    cost += (matmul_transposed(change, other.hessian.mean()) * change).sum(at::kDouble).item<double>();
  }
  return cost > 0 ? std::clamp(gain / cost, 0.0, 1.0) : 0;
}

}  // namespace normtweak::quantize
