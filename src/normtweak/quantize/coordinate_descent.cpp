#include "normtweak/quantize/coordinate_descent.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/where.h>

#include <algorithm>

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
    const auto grids = grid_.grids(0, in());
    for (std::int64_t first = 0; first < in(); first += kRoundedColumns) {
      const auto last = std::min(in(), first + kRoundedColumns);
      round_columns(first, last, grids.for_columns(first, last), steps_.slice(0, first, last));
    }
  }

  weights::AffineWeight result() const { return grid_.weight_of(steps_, out()); }

 private:
  // [in, out] -> [out, groups]
  at::Tensor sum_by_group(const at::Tensor& columns) const {
    return columns.view({-1, grid_.span(), columns.size(1)}).sum(1).t();
  }

  void take_steps() { take_values(steps_ * grid_.for_columns(grid_.scales)); }

  // A of the header, f32 [out, groups, groups]. It is symmetric: the products are those with the groups that follow.
  at::Tensor normal_matrix() const {
    const auto groups = in() / grid_.span(), channels = steps_.size(1);
    const auto upper = at::empty({groups, groups, channels}, steps_.options());
    for (std::int64_t group = 0; group < groups; ++group) {
      const auto first = group * grid_.span(), last = first + grid_.span();
      const auto product = matmul_transposed(hessian_.slice(0, first).slice(1, first, last),
                                             steps_.slice(0, first, last).t());  // [in - first, out]
      const auto felt = product.mul_(steps_.slice(0, first)).view({-1, grid_.span(), channels});
      auto row = upper.select(0, group).slice(0, group);
      at::sum_out(row, felt, 1);
    }
    const auto by_channel = upper.permute({2, 0, 1});  // below its diagonal it holds any values
    return by_channel.triu() + by_channel.triu(1).transpose(1, 2);
  }

  // Solved for the change of the scales. Acceptance is decided per channel, after rounding: a group whose scale would
  // leave its bounds keeps the old one, and then the changes of the others may do harm.
  void fit_scales() {
    auto& scales = grid_.scales;
    const auto matrix = normal_matrix().contiguous().to(at::kDouble);
    const auto right = sum_by_group(felt_by(0, in()).mul_(steps_)).to(at::kDouble);
    const auto wanted = solve_channels(matrix, right).t();
    const auto& options = grid_.options();
    auto fitted = as_loaded(scales + wanted, options.scale_type, options.loaded_type);
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
