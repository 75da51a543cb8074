#include "normtweak/quantize/gptq.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <vector>

#include "normtweak/base/device/matrix_product.h"
#include "normtweak/base/error.h"
#include "normtweak/quantize/channel_slices.h"
#include "normtweak/quantize/checks.h"
#include "normtweak/quantize/full_precision.h"
#include "normtweak/quantize/gptq_block.h"

namespace normtweak::quantize {
namespace {

// The work on one linear, or on a slice of its output channels. All matrices are transposed (the columns of the weight
// are rows) and in the factor's order.
class GptqRun {
 public:
  GptqRun(const at::Tensor& weight, const HessianFactor& factor, const AffineOptions& options)
      : factor_(factor),
        options_(options),
        out_(weight.size(0)),
        in_(weight.size(1)),
        group_size_(resolve_group_size(options.group_size, in_)),
        padded_((out_ + kRoundedLanes - 1) / kRoundedLanes * kRoundedLanes),
        weight_(at::constant_pad_nd(weight.t(), {0, padded_ - out_}).contiguous()) {
    const auto floats = weight_.options();
    const auto columns = at::arange(in_, floats.dtype(at::kLong));
    if (keeps_order()) {
      group_of_ = columns.div(group_size_, "floor");
    } else {
      group_of_ = factor.order.div(group_size_, "floor");
    }
    errors_ = at::empty({in_, padded_}, floats);
    codes_ = at::empty({in_, padded_}, floats.dtype(at::kByte));
    scales_ = at::empty({in_ / group_size_, padded_}, floats);
    zeros_ = at::empty_like(scales_);
    loss_ = at::zeros({}, floats.dtype(at::kDouble));
  }

  GptqResult run() {
    if (keeps_order()) {
      for (std::int64_t group = 0; group < in_ / group_size_; ++group) round_group(group);
    } else {
      fit_all_groups();
      weight_ = weight_.index_select(0, factor_.order);
      round_span(0, in_, at::Tensor());
    }
    return result();
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

  void fit_all_groups() {
    const auto grid = fit_grid(weight_.view({-1, group_size_, padded_}).transpose(1, 2), options_);
    scales_.copy_(grid.scales);
    zeros_.copy_(grid.zeros);
  }

  // GPTQ fits a group's grid to its weights when its first column is next, with the errors so far spread over all
  // remaining columns: W + E M_before M_group⁻¹. The recursion used for rounding adds E M_before only.
  void round_group(std::int64_t group) {
    const auto begin = group * group_size_, end = begin + group_size_;
    auto updated = weight_.slice(0, begin, end);
    at::Tensor pull;
    if (begin > 0) {
      pull = feedback(0, begin, begin, end);
      updated = updated + at::linalg_solve_triangular(feedback_block(begin, end, begin, end).t(), pull, /*upper=*/false,
                                                      /*left=*/true, /*unitriangular=*/true);
    }
    const auto grid = fit_grid(updated.t(), options_);
    scales_.select(0, group).copy_(grid.scales);
    zeros_.select(0, group).copy_(grid.zeros);
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
    const auto groups = group_of_.slice(0, first, last);
    const auto scales = scales_.index_select(0, groups), zeros = zeros_.index_select(0, groups);
    const auto steps = at::empty_like(target);
    round_block({.target = target,
                 .original = weight_.slice(0, first, last),
                 .scales = scales,
                 .lowest = -zeros,
                 .highest = ((1 << options_.bits) - 1) - zeros,
                 .phase = options_.float_zeros ? phase_of(zeros) : at::Tensor(),
                 .feedback = feedback_block(first, last, first, last).contiguous(),
                 .steps = steps,
                 .errors = errors_.slice(0, first, last)});
    codes_.slice(0, first, last).copy_((steps + zeros).round_());
    // The sum weighted by D is the error for the damped Hessian; the contribution of the damping is subtracted.
    const auto changed = target.addcmul_(steps, scales, -1).square_().sum(1);
    const auto moved = errors_.slice(0, first, last).square().sum(1);
    loss_ += (changed * factor_.weights.slice(0, first, last)).sum(at::kDouble) -
             (moved * factor_.live.slice(0, first, last)).sum(at::kDouble) * factor_.added;
  }

  GptqResult result() const {
    const auto codes = keeps_order() ? codes_ : codes_.index_select(0, at::argsort(factor_.order));
    const auto for_channels = [this](const at::Tensor& by_column) {
      return by_column.t().slice(0, 0, out_).contiguous();
    };
    return {.weight = {.codes = for_channels(codes),
                       .scales = for_channels(scales_),
                       .zeros = for_channels(zeros_),
                       .bits = options_.bits,
                       .group_size = options_.group_size,
                       .symmetric = options_.symmetric,
                       .float_zeros = options_.float_zeros,
                       .scale_type = options_.scale_type},
            .layer_error = std::max(0.0, loss_.item<double>()),
            .damping = factor_.damping};
  }

  const HessianFactor& factor_;
  const AffineOptions& options_;
  std::int64_t out_, in_, group_size_, padded_;
  at::Tensor weight_;          // f32 [in, out]
  at::Tensor group_of_;        // i64 [in]: the group of the column at each position
  at::Tensor errors_;          // f32 [in, out]: original - rounded, for the columns done
  at::Tensor codes_;           // u8  [in, out]
  at::Tensor scales_, zeros_;  // f32 [groups, out]
  at::Tensor loss_;            // f64 []
};

// Threads synchronise once per linear, not in each of thousands of small operations.
GptqResult run_in_slices(const at::Tensor& weight, const HessianFactor& factor, const AffineOptions& options) {
  const auto slices = weight.split(kRoundedChannels);
  std::vector<GptqResult> results(slices.size());
  for_each_slice(weight.size(0), kRoundedChannels, [&](std::int64_t first, std::int64_t) {
    const auto i = static_cast<std::size_t>(first / kRoundedChannels);
    results[i] = GptqRun(slices[i], factor, options).run();
  });

  const auto joined = [&results](at::Tensor weights::AffineWeight::*part) {
    std::vector<at::Tensor> parts;
    parts.reserve(results.size());
    for (const auto& result : results) parts.push_back(result.weight.*part);
    return at::cat(parts);
  };
  auto whole = results.front();
  whole.weight.codes = joined(&weights::AffineWeight::codes);
  whole.weight.scales = joined(&weights::AffineWeight::scales);
  whole.weight.zeros = joined(&weights::AffineWeight::zeros);
  whole.layer_error = 0;
  for (const auto& result : results) whole.layer_error += result.layer_error;
  return whole;
}

}  // namespace

GptqResult quantize_gptq(const at::Tensor& weight, const HessianFactor& factor, const AffineOptions& options) {
  const at::NoGradGuard no_grad;
  const FullPrecisionProducts full_precision;
  check_weight(weight);
  if (factor.feedback.size(0) != weight.size(1)) {
    fail("a Hessian of {} columns cannot quantize a weight {}", factor.feedback.size(0), c10::str(weight.sizes()));
  }
  auto result = weight.is_cpu() ? run_in_slices(weight, factor, options) : GptqRun(weight, factor, options).run();
  check_scales(result.weight.scales, options.scale_type);
  return result;
}

}  // namespace normtweak::quantize
