#include "normtweak/quantize/coordinate_descent.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <vector>

#include "normtweak/base/device/matrix_product.h"
#include "normtweak/quantize/affine_columns.h"
#include "normtweak/quantize/descent_columns.h"

namespace normtweak::quantize {
namespace {

class AffineDescent : DescentColumns {
 public:
  AffineDescent(const weights::AffineWeight& rounded, const at::Tensor& weight, const at::Tensor& hessian)
      : DescentColumns(weight, hessian),
        grid_(rounded),
        steps_(padded_columns(rounded.codes.to(at::kFloat)).sub_(grid_.for_columns(grid_.zeros))) {
    take_steps();
  }

  void sweep() {
    fit_scales();
    for (std::int64_t first = 0; first < in(); first += kRoundedColumns) {
      const auto last = std::min(in(), first + kRoundedColumns);
      round_columns(first, last, grid_.of_columns(columns(first, last)), steps_.slice(0, first, last));
    }
  }

  weights::AffineWeight result() const { return grid_.weight_of(steps_, out()); }

 private:
  // [in, out] -> [out, groups]
  at::Tensor sum_by_group(const at::Tensor& columns) const {
    return columns.view({-1, grid_.span(), columns.size(1)}).sum(1).t();
  }

  void take_steps() { take_values(steps_ * grid_.for_columns(grid_.scales)); }

  // A of the header, f32 [out, groups, groups].
  at::Tensor normal_matrix() const {
    std::vector<at::Tensor> rows;
    for (std::int64_t first = 0; first < in(); first += grid_.span()) {
      const auto last = first + grid_.span();
      const auto product = matmul_transposed(hessian_.slice(1, first, last), steps_.slice(0, first, last).t());
      rows.push_back(sum_by_group(product.mul_(steps_)));
    }
    return at::stack(rows, 1);
  }

  // Solved for the change of the scales. Acceptance is decided per channel, after rounding: a group whose scale would
  // leave its bounds keeps the old one, and then the changes of the others may do harm.
  void fit_scales() {
    auto& scales = grid_.scales;
    const auto matrix = normal_matrix().to(at::kDouble);
    const auto right = sum_by_group(felt_by(0, in()).mul_(steps_)).to(at::kDouble);
    const auto wanted = solve_channels(matrix, right).t();
    auto fitted = (scales + wanted).to(grid_.options().scale_type).to(at::kFloat);
    fitted = at::where((fitted > scales / 2) & (fitted < scales * 2), fitted, scales);  // false for NaN

    const auto change = (fitted - scales).t().to(at::kDouble);
    const auto gain = gain_of(change, matrix, right);
    scales = at::where((gain > 0).unsqueeze(0), fitted, scales).contiguous();
    take_steps();
  }

  AffineColumns grid_;
  at::Tensor steps_;  // f32 [in, out]: code - zero
};

}  // namespace

void descend(weights::AffineWeight& rounded, const at::Tensor& weight, const at::Tensor& hessian, double added,
             int sweeps) {
  descend_in_slices<AffineDescent>(rounded, weight, hessian, added, sweeps, rounded.scales.size(1));
}

}  // namespace normtweak::quantize
