#include "normtweak/quantize/coordinate_descent.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <vector>

#include "normtweak/base/device/matrix_product.h"
#include "normtweak/quantize/channel_slices.h"
#include "normtweak/quantize/descent_step.h"
#include "normtweak/quantize/gptq_block.h"
#include "normtweak/quantize/grid.h"
#include "normtweak/quantize/product_precision.h"

namespace normtweak::quantize {
namespace {

// The work on a slice of output channels. All matrices are transposed: the columns of the weight are rows.
class Descent {
 public:
  Descent(const weights::AffineWeight& rounded, const at::Tensor& weight, const at::Tensor& hessian)
      : start_(rounded),
        hessian_(hessian),
        out_(weight.size(0)),
        in_(weight.size(1)),
        group_size_(weights::columns_per_group(rounded)),
        padded_((out_ + kRoundedLanes - 1) / kRoundedLanes * kRoundedLanes),
        weight_(as_columns(weight, 0)),
        scales_(as_columns(rounded.scales, 1)),
        zeros_(as_columns(rounded.zeros, 0)),
        steps_(as_columns(rounded.codes.to(at::kFloat), 0).sub_(for_columns(zeros_))) {
    take_values();
  }

  void sweep() {
    fit_scales();
    for (std::int64_t first = 0; first < in_; first += kRoundedColumns) {
      round_columns(first, std::min(in_, first + kRoundedColumns));
    }
  }

  weights::AffineWeight result() const {
    auto fitted = start_;
    fitted.codes = (steps_ + for_columns(zeros_)).round_().to(at::kByte).t().slice(0, 0, out_).contiguous();
    fitted.scales = scales_.t().slice(0, 0, out_).contiguous();
    return fitted;
  }

 private:
  at::Tensor as_columns(const at::Tensor& channels, double padding) const {
    return at::constant_pad_nd(channels.t(), {0, padded_ - out_}, padding).contiguous();
  }

  at::Tensor for_columns(const at::Tensor& by_group) const { return by_group.repeat_interleave(group_size_, 0); }

  // [in, out] -> [out, groups]
  at::Tensor sum_by_group(const at::Tensor& columns) const {
    return columns.view({in_ / group_size_, group_size_, padded_}).sum(1).t();
  }

  void take_values() {
    values_ = steps_ * for_columns(scales_);
    errors_ = weight_ - values_;
  }

  // A of the header, f32 [out, groups, groups].
  at::Tensor normal_matrix() const {
    std::vector<at::Tensor> rows;
    for (std::int64_t first = 0; first < in_; first += group_size_) {
      const auto last = first + group_size_;
      const auto product = matmul_transposed(hessian_.slice(1, first, last), steps_.slice(0, first, last).t());
      rows.push_back(sum_by_group(product.mul_(steps_)));
    }
    return at::stack(rows, 1);
  }

  // Solved for the change of the scales. Acceptance is decided per channel, after rounding: a group whose scale would
  // leave its bounds keeps the old one, and then the changes of the others may do harm.
  void fit_scales() {
    const auto matrix = normal_matrix().to(at::kDouble);
    const auto right = sum_by_group(matmul_transposed(hessian_, errors_.t()).mul_(steps_)).to(at::kDouble);
    const auto wanted = solve_channels(matrix, right).t();
    auto fitted = (scales_ + wanted).to(start_.scale_type).to(at::kFloat);
    fitted = at::where((fitted > scales_ / 2) & (fitted < scales_ * 2), fitted, scales_);  // false for NaN

    const auto change = (fitted - scales_).t().to(at::kDouble);
    const auto gain = gain_of(change, matrix, right);
    scales_ = at::where((gain > 0).unsqueeze(0), fitted, scales_).contiguous();
    take_values();
  }

  void round_columns(std::int64_t first, std::int64_t last) {
    const auto pull = pull_on(hessian_, first, last);
    const auto spread = [&](const at::Tensor& by_group) {
      return for_columns(by_group).slice(0, first, last).contiguous();
    };
    const auto target = weight_.slice(0, first, last) + matmul_transposed(pull.t(), errors_.t());
    const auto scales = spread(scales_), zeros = spread(zeros_);
    const auto moved = at::empty_like(target);
    // GPTQ feeds back the change from the weight; here it is the change from the previous quantized value.
    round_block({.target = target,
                 .original = values_.slice(0, first, last),
                 .grids = {.scales = scales,
                           .lowest = -zeros,
                           .highest = ((1 << start_.bits) - 1) - zeros,
                           .phase = start_.float_zeros ? phase_of(zeros) : at::Tensor(),
                           .curve = {}},
                 .feedback = pull.slice(0, first, last).contiguous(),
                 .steps = steps_.slice(0, first, last),
                 .errors = moved});
    errors_.slice(0, first, last).add_(moved);
    values_.slice(0, first, last).sub_(moved);
  }

  const weights::AffineWeight& start_;
  const at::Tensor& hessian_;  // f32 [in, in]: live_part()
  std::int64_t out_, in_, group_size_, padded_;
  at::Tensor weight_;           // f32 [in, out]
  at::Tensor scales_, zeros_;   // f32 [groups, out]
  at::Tensor steps_;            // f32 [in, out]: code - zero
  at::Tensor values_, errors_;  // f32 [in, out]: steps * scales, and weight - values
};

weights::AffineWeight descended(const weights::AffineWeight& rounded, const at::Tensor& weight,
                                const at::Tensor& hessian, int sweeps) {
  Descent descent(rounded, weight, hessian);
  for (int sweep = 0; sweep < sweeps; ++sweep) descent.sweep();
  return descent.result();
}

void descend_in_slices(weights::AffineWeight& rounded, const at::Tensor& weight, const at::Tensor& hessian,
                       int sweeps) {
  rounded.codes = rounded.codes.clone();  // other handles may share the old codes
  rounded.scales = rounded.scales.clone();
  for_each_slice(weight.size(0), kRoundedChannels, [&](std::int64_t first, std::int64_t count) {
    const auto rows = [&](const at::Tensor& all) { return all.narrow(0, first, count); };
    auto part = rounded;
    part.codes = rows(rounded.codes);
    part.scales = rows(rounded.scales);
    part.zeros = rows(rounded.zeros);
    const auto result = descended(part, rows(weight), hessian, sweeps);
    part.codes.copy_(result.codes);
    part.scales.copy_(result.scales);
  });
}

}  // namespace

void descend(weights::AffineWeight& rounded, const at::Tensor& weight, const at::Tensor& hessian, double added,
             int sweeps) {
  const at::NoGradGuard no_grad;
  const RoundingProducts precision;
  const auto live = live_part(hessian, added);
  if (weight.is_cpu()) {
    descend_in_slices(rounded, weight, live, sweeps);
  } else {
    rounded = descended(rounded, weight, live, sweeps);
  }
}

}  // namespace normtweak::quantize
