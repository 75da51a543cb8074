#include "normtweak/quantize/hessian_factor.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/linalg_cholesky_ex.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <limits>

#include "normtweak/base/error.h"
#include "normtweak/quantize/checks.h"
#include "normtweak/quantize/unit_triangle.h"

namespace normtweak::quantize {
namespace {

constexpr double kMostDamping = 1.0;
constexpr double kLeastRetry = 1e-3;  // the first retry if the user set damping to 0

// Below this share of the mean diagonal a pivot is rounding noise of the F32 sums, and dividing by it is meaningless.
constexpr double kLeastPivot = std::numeric_limits<float>::epsilon();

// Fetched together: a GPU stands still whenever one of its figures is read.
struct DiagonalFacts {
  double least, live, sum;  // the smallest entry, how many are above 0, and the sum
};

DiagonalFacts facts_of(const at::Tensor& diagonal) {
  const auto wide = diagonal.to(at::kDouble);
  const auto facts = at::stack({wide.min(), (wide > 0).sum(at::kDouble), wide.sum()}).cpu();
  const auto* values = facts.const_data_ptr<double>();
  return {values[0], values[1], values[2]};
}

// Lower Cholesky factor with `added` on the diagonal, or an undefined tensor if the matrix is too close to singular.
at::Tensor factor_damped(const at::Tensor& hessian, const at::Tensor& diagonal, double added, double least_pivot) {
  hessian.diagonal().copy_(diagonal + added);
  auto [lower, info] = at::linalg_cholesky_ex(hessian);
  const auto least = at::where(info == 0, lower.diagonal().square().min(), -1.0).item<double>();
  return least >= 0 && !(least < least_pivot) ? lower : at::Tensor();
}

}  // namespace

HessianFactor factor_hessian(const at::Tensor& hessian, const FactorOptions& options) {
  const auto in = hessian.size(0);
  const bool square = hessian.dim() == 2 && hessian.size(1) == in;
  if (!square) fail("the Hessian must be square; found {}", c10::str(hessian.sizes()));
  const auto diagonal = hessian.diagonal();
  check_finite(hessian, "the Hessian");
  const auto facts = facts_of(diagonal);
  if (facts.least < 0) {
    fail("the Hessian has a negative diagonal entry, {}; a mean of x xᵀ has none", static_cast<float>(facts.least));
  }

  HessianFactor result;
  const auto columns = at::arange(in, hessian.options().dtype(at::kLong));
  const auto order =
      options.act_order ? at::argsort(diagonal, /*stable=*/true, /*dim=*/0, /*descending=*/true) : columns;
  if (options.act_order) result.order = order;

  // A dead column's row of the Hessian is 0. Setting its diagonal to the mean of the others decouples it from them.
  const auto live = diagonal > 0;
  const auto mean = facts.live > 0 ? facts.sum / facts.live : 1.0;
  const auto filled = at::where(live, diagonal.to(at::kDouble), mean);

  // An upper factor H = R Rᵀ is the lower factor of the matrix with rows and columns reversed, reversed again.
  const auto reversed = order.flip(0);
  const auto matrix = hessian.index_select(0, reversed).index_select(1, reversed).to(at::kDouble);
  const auto matrix_diagonal = filled.index_select(0, reversed);
  double damping = options.damping;
  auto lower = factor_damped(matrix, matrix_diagonal, damping * mean, kLeastPivot * mean);
  while (!lower.defined()) {
    if (damping >= kMostDamping) {
      fail("the Hessian is not positive definite even with damping {}; its inputs are broken, or far too few", damping);
    }
    damping = std::min(kMostDamping, std::max(kLeastRetry, damping * 10));
    lower = factor_damped(matrix, matrix_diagonal, damping * mean, kLeastPivot * mean);
  }

  const auto pivots = lower.diagonal().clone();
  result.feedback = lower.div_(pivots.unsqueeze(0)).to(at::kFloat).flip({0, 1}).contiguous();
  result.inverses = inverse_blocks(result.feedback);
  result.live = live.index_select(0, order).to(at::kFloat);
  result.weights = pivots.square().flip(0).to(at::kFloat).mul_(result.live);
  result.damping = damping;
  result.added = damping * mean;
  return result;
}

const HessianFactor& InputHessian::factor(const FactorOptions& options) const {
  const bool made =
      factor_.feedback.defined() && made_for_.damping == options.damping && made_for_.act_order == options.act_order;
  if (!made) {
    factor_ = {};  // frees the old factor before the new one is allocated
    factor_ = factor_hessian(mean_, options);
    made_for_ = options;
  }
  return factor_;
}

}  // namespace normtweak::quantize
