#include "normtweak/quantize/gptq_run.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/where.h>

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
      : factor_(factor),
        grid_(grid),
        in_(weight.size(0)),
        weight_(weight),
        costs_(at::where(factor.live > 0, factor.weights, factor.weights.mean() * kUnusedShare)),
        errors_(at::empty_like(weight)),
        steps_(at::empty_like(weight)) {}

  at::Tensor run() {
    if (!factor_.order.defined()) {
      for (std::int64_t begin = 0; begin < in_; begin += grid_.span()) round_group(begin, begin + grid_.span());
      return steps_;
    }
    const auto places = at::argsort(factor_.order);
    grid_.fit(0, weight_, costs_.index_select(0, places));
    weight_ = weight_.index_select(0, factor_.order);
    auto grids = grid_.grids(0, in_);
    grids.grid_of = grids.grid_of.index_select(0, factor_.order);
    round_span(0, in_, grids, at::Tensor());
    return steps_.index_select(0, places);
  }

 private:
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
    round_span(begin, end, grid_.grids(begin, end), pull);
  }

  // A product and a kernel for each kRoundedColumns: what else is done for each makes a GPU wait for its launches.
  // grids: of these columns. pull: [end - begin, out], the feedback of the columns before `begin`; undefined: none.
  void round_span(std::int64_t begin, std::int64_t end, const ColumnGrids& grids, const at::Tensor& pull) {
    for (auto first = begin; first < end; first += kRoundedColumns) {
      const auto last = std::min<std::int64_t>(end, first + kRoundedColumns);
      auto before = pull.defined() ? pull.slice(0, first - begin, last - begin) : pull;
      if (first > begin) {
        const auto own = feedback(begin, first, first, last);
        before = before.defined() ? before.add_(own) : own;
      }
      round_block({.weight = weight_.slice(0, first, last),
                   .pull = before,
                   .grids = grids.for_columns(first - begin, last - begin),
                   .feedback = feedback_block(first, last, first, last),
                   .steps = steps_.slice(0, first, last),
                   .errors = errors_.slice(0, first, last)});
    }
  }

  const HessianFactor& factor_;
  GptqGrid& grid_;
  std::int64_t in_;
  at::Tensor weight_;  // f32 [in, out]
  at::Tensor costs_;   // f32 [in]: what an error in a column costs. Those after it compensate for a part; D is left
  at::Tensor errors_;  // f32 [in, out]: weight - rounded, for the columns done
  at::Tensor steps_;   // f32 [in, out]
};

}  // namespace

at::Tensor grid_of_columns(std::int64_t first, std::int64_t last, std::int64_t width, c10::Device device) {
  const auto columns = at::arange(first, last, at::TensorOptions(at::kInt).device(device));
  return columns.div_(width, "floor").sub_(first / width);
}

at::Tensor run_gptq(const at::Tensor& weight, const HessianFactor& factor, GptqGrid& grid) {
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
