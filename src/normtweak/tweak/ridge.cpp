#include "normtweak/tweak/ridge.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cholesky_solve.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/linalg_cholesky_ex.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "normtweak/base/error.h"
#include "normtweak/base/matrix_product.h"
#include "normtweak/quantize/full_precision.h"

namespace normtweak::tweak {
namespace {

constexpr std::int64_t kRowsAtOnce = 16384;  // bounds the F32 copies of a large head: 0.5 GiB each of 8192 columns

// Output channels [begin, begin + count) of a norm and the linear behind it, as one matrix acting on z = (n, 1):
// (W diag(w), W b + bias) [count, C + 1].
at::Tensor on_normalised(const at::Tensor& weight, const at::Tensor& bias, const model::Norm& norm) {
  auto constant = norm.bias.defined() ? at::matmul(weight, norm.bias) : at::zeros({weight.size(0)}, weight.options());
  if (bias.defined()) constant = constant + bias;
  return at::cat({weight * norm.weight, constant.unsqueeze(1)}, 1);
}

double inner_product(const at::Tensor& a, const at::Tensor& b) { return (a * b).sum(at::kDouble).item<double>(); }

// The sums over all output channels of all linears that read a norm.
struct Equations {
  at::Tensor gram;          // f32 [C, C]: Ŵᵀ Ŵ
  at::Tensor residual;      // f32 [C]: Σ_o Ŵ[o, c] E[e_o n_c], with the residual e = y - ŷ
  at::Tensor mean_missing;  // f32 [C]: Σ_o Ŵ[o, c] E[e_o]
  double error = 0;         // E|e|²
  double power = 0;         // E|y|²

  explicit Equations(const model::Norm& norm)
      : gram(at::zeros({norm.weight.size(0), norm.weight.size(0)}, norm.weight.options())),
        residual(at::zeros_like(norm.weight)),
        mean_missing(at::zeros_like(norm.weight)) {}

  // present: Ŵ, f32 [count, C]; target, now: on_normalised() of the float model and of ours.
  void add(const at::Tensor& present, const at::Tensor& target, const at::Tensor& now,
           const RidgeMoments::Means& means) {
    // e = P z_float - Q z = (P - Q) z + P d. In this form nothing large cancels, and e is exactly 0 for unchanged
    // weights.
    const auto channels = present.size(1);
    const auto difference = target - now;
    auto missing = matmul_transposed(difference, means.own);  // E[e zᵀ]
    error += inner_product(missing, difference);
    power += inner_product(matmul_transposed(target, means.own), target);
    if (means.cross.defined()) {
      const auto weight = target.narrow(1, 0, channels);
      const auto moved = matmul_transposed(weight, means.cross.t());
      const auto spread = inner_product(matmul_transposed(weight, means.shift), weight);
      error += 2 * inner_product(moved, difference) + spread;
      power += 2 * inner_product(moved, target) + spread;
      missing += moved;
    }
    add_matmul_transposed(gram, present.t(), present.t());
    residual += (present * missing.narrow(1, 0, channels)).sum(0);
    mean_missing += at::matmul(present.t(), missing.select(1, channels));
  }
};

Equations equations_of(const model::Norm& norm, const model::Norm& float_norm,
                       const std::vector<ReadingLinear>& linears, const RidgeMoments::Means& means) {
  const quantize::FullPrecisionProducts full_precision;
  Equations equations(norm);
  for (const auto& [present, floats] : linears) {
    const auto now = model::values(present->weight, at::kFloat), target = model::values(floats->weight, at::kFloat);
    for (std::int64_t begin = 0; begin < now.size(0); begin += kRowsAtOnce) {
      const auto part = [&](const at::Tensor& all) {
        return all.defined() ? all.narrow(0, begin, std::min(kRowsAtOnce, all.size(0) - begin)) : all;
      };
      equations.add(part(now), on_normalised(part(target), part(floats->bias), float_norm),
                    on_normalised(part(now), part(present->bias), norm), means);
    }
  }
  return equations;
}

// f64: the normal equations A change = r for the change of the weight, followed by that of the bias if there is one.
struct NormalEquations {
  at::Tensor a, r;
  at::Tensor unit;  // the mean diagonal of A, for the weight and for the bias
};

NormalEquations normal_equations(const Equations& equations, const at::Tensor& own, bool with_bias) {
  const auto channels = equations.gram.size(0);
  const auto gram = equations.gram.to(at::kDouble), moments = own.to(at::kDouble);
  const auto a = gram * moments.narrow(0, 0, channels).narrow(1, 0, channels);
  const auto unit = [](const at::Tensor& part) {
    const auto diagonal = part.diagonal();
    return at::full_like(diagonal, diagonal.mean().item<double>());
  };
  const auto r = equations.residual.to(at::kDouble);
  if (!with_bias) return {a, r, unit(a)};
  const auto mixed = gram * moments.narrow(0, 0, channels).select(1, channels).unsqueeze(1);  // [weight, bias]
  return {at::cat({at::cat({a, mixed}, 1), at::cat({mixed.t(), gram}, 1)}, 0),
          at::cat({r, equations.mean_missing.to(at::kDouble)}), at::cat({unit(a), unit(gram)})};
}

at::Tensor solve(const NormalEquations& equations, double lambda, const std::string& name) {
  auto damped = equations.a.clone();
  damped.diagonal().add_(equations.unit * lambda);
  const auto [factor, info] = at::linalg_cholesky_ex(damped);
  if (info.item<int>() != 0) {
    fail("{}: its equations are singular or not finite; a larger --ridge-lambda than {} may help", name, lambda);
  }
  return at::cholesky_solve(equations.r.unsqueeze(1), factor).squeeze(1);
}

at::Tensor rounded(const at::Tensor& values, at::ScalarType stored) { return values.to(stored).to(at::kFloat); }

}  // namespace

at::Tensor normalised(const model::Norm& norm, const at::Tensor& hidden) {
  auto plain = norm;
  plain.weight = at::ones_like(norm.weight);
  plain.bias.reset();
  return forward(plain, hidden, at::kFloat);
}

RidgeMoments::RidgeMoments(std::int64_t channels, bool float_stream, c10::Device device)
    : channels_(channels), sums_(channels + 1 + (float_stream ? channels : 0), device) {}

void RidgeMoments::add(const at::Tensor& n, const at::Tensor& float_n, const at::Tensor& mask) {
  const auto own = n.to(at::kFloat);
  auto one = own.sizes().vec();
  one.back() = 1;
  std::vector<at::Tensor> features = {own, at::ones(one, own.options())};
  if (float_n.defined()) features.push_back(float_n.to(at::kFloat) - own);
  sums_.add(at::cat(features, -1), mask.defined() ? std::optional(mask) : std::nullopt);
}

RidgeMoments::Means RidgeMoments::means() const {
  const auto all = sums_.mean();
  const auto own = channels_ + 1, rest = all.size(0) - own;
  Means means = {.own = all.narrow(0, 0, own).narrow(1, 0, own), .cross = {}, .shift = {}};
  if (rest > 0) {
    means.cross = all.narrow(0, own, rest).narrow(1, 0, own);
    means.shift = all.narrow(0, own, rest).narrow(1, own, rest);
  }
  return means;
}

model::Norm ridge_norm(const model::Norm& norm, const model::Norm& float_norm,
                       const std::vector<ReadingLinear>& linears, const RidgeMoments::Means& means, double lambda,
                       at::ScalarType stored, RidgeReport* report) {
  const c10::NoGradGuard no_gradients;
  const auto channels = norm.weight.size(0);
  const auto sums = equations_of(norm, float_norm, linears, means);
  const auto equations = normal_equations(sums, means.own, norm.bias.defined());
  const auto change = solve(equations, lambda, norm.name).to(at::kFloat);

  auto solved = norm;
  solved.weight = rounded(norm.weight + change.narrow(0, 0, channels), stored);
  auto step = solved.weight - norm.weight;
  if (norm.bias.defined()) {
    solved.bias = rounded(norm.bias + change.narrow(0, channels, channels), stored);
    step = at::cat({step, solved.bias - norm.bias});
  }
  step = step.to(at::kDouble);
  const double more_error = inner_product(step, at::matmul(equations.a, step)) - 2 * inner_product(step, equations.r);
  if (!std::isfinite(more_error)) fail("{}: its equations are not finite", norm.name);
  const bool better = more_error < 0;
  if (report != nullptr) {
    *report = {norm.name, sums.error / sums.power, (sums.error + (better ? more_error : 0)) / sums.power};
  }
  return better ? solved : norm;
}

}  // namespace normtweak::tweak
