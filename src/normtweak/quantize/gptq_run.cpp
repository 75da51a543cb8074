#include "normtweak/quantize/gptq_run.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "normtweak/base/device/matrix_product.h"
#include "normtweak/base/error.h"
#include "normtweak/quantize/checks.h"

namespace normtweak::quantize {
namespace {

// A dead column counts a little when a grid is fitted: text other than the calibration text may use it.
constexpr double kUnusedShare = 1e-3;

// All matrices are in the factor's order.
class GptqRun {
 public:
  GptqRun(const at::Tensor& weight, const HessianFactor& factor, GptqGrid& grid)
      : factor_(factor), grid_(grid), in_(weight.size(0)), weight_(weight) {
    const auto floats = weight.options();
    columns_ = keeps_order() ? at::arange(in_, floats.dtype(at::kLong)) : factor.order;
    costs_ = at::where(factor.live > 0, factor.weights, factor.weights.mean() * kUnusedShare);
    errors_ = at::empty_like(weight);
    steps_ = at::empty_like(weight);
    loss_ = at::zeros({}, floats.dtype(at::kDouble));
  }

  GptqSteps run() {
    if (keeps_order()) {
      for (std::int64_t begin = 0; begin < in_; begin += grid_.span()) round_group(begin, begin + grid_.span());
    } else {
      grid_.fit(0, weight_, costs_.index_select(0, at::argsort(factor_.order)));
      weight_ = weight_.index_select(0, factor_.order);
      round_span(0, in_, at::Tensor());
      steps_ = steps_.index_select(0, at::argsort(factor_.order));
    }
    return {.steps = steps_, .loss = std::max(0.0, loss_.item<double>())};
  }

 private:
  bool keeps_order() const { return !factor_.order.defined(); }

  // The feedback of the errors of columns [from, to) to columns [first, last): [last - first, out].
  at::Tensor feedback(std::int64_t from, std::int64_t to, std::int64_t first, std::int64_t last) const {
    return matmul_transposed(feedback_block(from, to, first, last).t(), errors_.slice(0, from, to).t());
  }

  at::Tensor feedback_block(std::int64_t from, std::int64_t to, std::int64_t first, std::int64_t last) const {
    return factor_.feedback.slice(0, from, to).slice(1, first, last);
  }

  // GPTQ fits a group's grid to its weights when its first column is next, with the errors so far spread over all
  // remaining columns: W + E M_before M_group⁻¹. The recursion used for rounding adds E M_before only.
  void round_group(std::int64_t begin, std::int64_t end) {
    auto updated = weight_.slice(0, begin, end);
    at::Tensor pull;
    if (begin > 0) {
      pull = feedback(0, begin, begin, end);
      updated = updated + at::linalg_solve_triangular(feedback_block(begin, end, begin, end).t(), pull, /*upper=*/false,
                                                      /*left=*/true, /*unitriangular=*/true);
    }
    grid_.fit(begin, updated, costs_.slice(0, begin, end));
    round_span(begin, end, pull);
  }

  // pull: [end - begin, out], the feedback of the columns before `begin`; undefined if there are none.
  void round_span(std::int64_t begin, std::int64_t end, const at::Tensor& pull) {
    for (auto first = begin; first < end; first += kRoundedColumns) {
      const auto last = std::min<std::int64_t>(end, first + kRoundedColumns);
      auto target = weight_.slice(0, first, last).clone();
      if (pull.defined()) target.add_(pull.slice(0, first - begin, last - begin));
      if (first > begin) target.add_(feedback(begin, first, first, last));
      round_columns(first, last, target);
    }
  }

  void round_columns(std::int64_t first, std::int64_t last, const at::Tensor& target) {
    const auto grids = grid_.of_columns(columns_.slice(0, first, last));
    const auto steps = steps_.slice(0, first, last), errors = errors_.slice(0, first, last);
    round_block({.target = target,
                 .original = weight_.slice(0, first, last),
                 .grids = grids,
                 .feedback = feedback_block(first, last, first, last).contiguous(),
                 .steps = steps,
                 .errors = errors});
    // The sum weighted by D is the error for the damped Hessian; the contribution of the damping is subtracted.
    const auto rounded = grids.scales.defined() ? target.addcmul_(steps, grids.scales, -1)
                                                : target.sub_(weight_.slice(0, first, last)).add_(errors);
    const auto changed = rounded.square_().sum(1);
    const auto moved = errors.square().sum(1);
    loss_ += (changed * factor_.weights.slice(0, first, last)).sum(at::kDouble) -
             (moved * factor_.live.slice(0, first, last)).sum(at::kDouble) * factor_.added;
  }

  const HessianFactor& factor_;
  GptqGrid& grid_;
  std::int64_t in_;
  at::Tensor weight_;   // f32 [in, out]
  at::Tensor columns_;  // i64 [in]: the column at each position
  at::Tensor costs_;    // f32 [in]: what an error in a column costs. Those after it compensate for a part; D is left
  at::Tensor errors_;   // f32 [in, out]: original - rounded, for the columns done
  at::Tensor steps_;    // f32 [in, out]
  at::Tensor loss_;     // f64 []
};

}  // namespace

GptqSteps run_gptq(const at::Tensor& weight, const HessianFactor& factor, GptqGrid& grid) {
  return GptqRun(weight, factor, grid).run();
}

at::Tensor padded_columns(const at::Tensor& channels, double padding) {
  const auto out = channels.size(0), padded = (out + kRoundedLanes - 1) / kRoundedLanes * kRoundedLanes;
  return at::constant_pad_nd(channels.t(), {0, padded - out}, padding).contiguous();
}

void check_gptq(const at::Tensor& weight, const HessianFactor& factor) {
  check_weight(weight);
  if (factor.feedback.size(0) == weight.size(1)) return;
  fail("a Hessian of {} columns cannot quantize a weight {}", factor.feedback.size(0), c10::str(weight.sizes()));
}

}  // namespace normtweak::quantize
