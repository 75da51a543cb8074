#include "normtweak/quantize/drift.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <utility>

#include "normtweak/base/device/matrix_product.h"
#include "normtweak/quantize/moments.h"
#include "normtweak/quantize/product_precision.h"
#include "normtweak/quantize/unit_triangle.h"

namespace normtweak::quantize {
namespace {

// W D + R, which H⁻¹ turns into the correction of the weight.
at::Tensor wanted_change(const at::Tensor& weight, const Drift& drift) {
  if (drift.change.defined()) return drift.change;
  const RoundingProducts precision;
  auto change = matmul_transposed(weight, drift.inputs.t());
  if (drift.residual.defined()) change += drift.residual;
  return change;
}

// wanted H⁻¹ for the damped Hessian; 0 in dead columns.
at::Tensor correction(const at::Tensor& wanted, const HessianFactor& factor) {
  const RoundingProducts precision;
  // Solve Z M D Mᵀ = wanted for Z.
  const auto ordered = factor.order.defined() ? wanted.index_select(1, factor.order) : wanted;
  auto solved = solve_transposed(ordered, factor.feedback, factor.inverses);
  solved = at::where(factor.live > 0, solved / factor.weights, 0.0);
  solved = solve_upper(solved, factor.feedback, factor.inverses);
  return factor.order.defined() ? solved.index_select(1, at::argsort(factor.order)) : solved;
}

using Wanted = std::array<at::Tensor, 2>;  // wanted_change() of each half

Wanted wanted_changes(const at::Tensor& weight, const std::array<DriftHalf, 2>& halves) {
  return {wanted_change(weight, halves[0].drift), wanted_change(weight, halves[1].drift)};
}

// The error on the other half is a parabola in the share: const - 2 share tr(Δ Cᵀ) + share² tr(Δ H Δᵀ), with the
// correction Δ of one half, and C = W D + R and H of the other. f64 [], on the device: nothing waits for it.
at::Tensor share_of(const Wanted& wanted, const std::array<DriftHalf, 2>& halves, const FactorOptions& options) {
  at::Tensor gain, cost;
  const auto add = [](at::Tensor& sum, const at::Tensor& products) {
    const auto own = products.sum(at::kDouble);
    sum = sum.defined() ? sum + own : own;
  };
  for (std::size_t i = 0; i < halves.size(); ++i) {
    const auto& other = halves.at(1 - i);
    const auto change = correction(wanted.at(i), halves.at(i).hessian.factor(options));
    const RoundingProducts precision;
    add(gain, change * wanted.at(1 - i));
    add(cost, matmul_transposed(change, other.hessian.mean()) * change);
  }
  return at::where(cost > 0, (gain / cost).clamp(0, 1), 0.0);
}

}  // namespace

DriftAccumulator::DriftAccumulator(std::int64_t in, std::int64_t hidden, c10::Device device, at::Tensor weight)
    : weight_(std::move(weight)) {
  const auto options = at::TensorOptions(at::kFloat).device(device);
  if (weight_.defined()) {
    output_sum_ = at::zeros({hidden, in}, options);
    return;
  }
  exact_sum_ = at::zeros({in, in}, options);
  if (hidden > 0) residual_sum_ = at::zeros({hidden, in}, options);
}

void DriftAccumulator::add(const at::Tensor& exact, const at::Tensor& x, const at::Tensor& exact_residual,
                           const at::Tensor& residual, const std::optional<at::Tensor>& weights) {
  const c10::NoGradGuard no_gradients;
  const FullPrecisionProducts full_precision;
  const auto device = (weight_.defined() ? output_sum_ : exact_sum_).device();
  const auto tokens = x.numel() / x.size(-1);
  for (std::int64_t first = 0; first < tokens; first += kTokensAtOnce) {
    const auto count = std::min(kTokensAtOnce, tokens - first);
    const auto rows = [&](const at::Tensor& all) {
      return all.reshape({tokens, -1}).narrow(0, first, count).to(device);
    };
    const auto weight = weights ? rows(weights->to(at::kFloat)) : at::Tensor();
    // Tokens of weight 0 may hold any values; a product alone would not do, since NaN * 0 is NaN.
    const auto counted = [&](const at::Tensor& values) {
      return weight.defined() ? at::where(weight > 0, values, 0.0) : values;
    };
    const bool all_count_alike = !weight.defined() || weights->scalar_type() == at::kBool;
    const auto weighed = [&](const at::Tensor& values) {
      return all_count_alike ? counted(values) : counted(values) * weight;
    };
    const auto chunk = counted(rows(x));
    const auto residual_change = [&] { return rows(exact_residual).to(at::kFloat) - rows(residual).to(at::kFloat); };
    if (weight_.defined()) {
      const auto outputs = residual_change();
      add_moment(outputs, rows(exact).to(weight_.scalar_type()).t(), weight_.t());  // + W y
      add_moment(output_sum_, weighed(outputs), chunk);
      continue;
    }
    add_moment(exact_sum_, weighed(rows(exact)), chunk);
    if (residual_sum_.defined()) add_moment(residual_sum_, weighed(residual_change()), chunk);
  }
}

void DriftAccumulator::sum_over(const Processes& processes) {
  if (weight_.defined()) return processes.all_reduce_sum({output_sum_});
  processes.all_reduce_sum({exact_sum_});
  if (residual_sum_.defined()) processes.all_reduce_sum({residual_sum_});
}

Drift DriftAccumulator::mean(const at::Tensor& hessian, double total_weight) const {
  if (weight_.defined()) {
    const FullPrecisionProducts full_precision;
    const auto change = at::mul(output_sum_, -1 / total_weight);
    add_product(change, weight_, hessian);
    return {.inputs = {}, .residual = {}, .change = change.neg_()};
  }
  return {exact_sum_ / total_weight - hessian, residual_sum_.defined() ? residual_sum_ / total_weight : at::Tensor(),
          at::Tensor()};
}

at::Tensor correct_drift(const at::Tensor& weight, const HessianFactor& factor, const Drift& drift, double share) {
  const c10::NoGradGuard no_gradients;
  return weight + correction(wanted_change(weight, drift), factor) * share;
}

double share_that_carries_over(const at::Tensor& weight, const std::array<DriftHalf, 2>& halves,
                               const FactorOptions& options) {
  const c10::NoGradGuard no_gradients;
  return share_of(wanted_changes(weight, halves), halves, options).item<double>();
}

at::Tensor correct_drift(const at::Tensor& weight, const InputHessian& hessian, const std::array<DriftHalf, 2>& halves,
                         const FactorOptions& options, double most) {
  const c10::NoGradGuard no_gradients;
  const auto wanted = wanted_changes(weight, halves);
  const auto of_text = wanted[0] * halves[0].share + wanted[1] * halves[1].share;
  return weight + correction(of_text, hessian.factor(options)) * (share_of(wanted, halves, options) * most);
}

}  // namespace normtweak::quantize
