#include "normtweak/quantize/block_steps.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros_like.h>

#include "normtweak/quantize/block_group.h"

namespace normtweak::quantize {
namespace {

// What is left of a step from `place` within the range.
at::Tensor within(const at::Tensor& place, const at::Tensor& step, const weights::IntegerRange& range) {
  return (place + step).clamp_(range.lowest, range.highest) - place;
}

}  // namespace

at::Tensor best_step(const at::Tensor& scale, const Parabola& error, const weights::IntegerRange& range) {
  return within(scale, ratio(error.ra, error.aa).round_(), range);
}

std::pair<at::Tensor, at::Tensor> best_steps(const at::Tensor& scale, const at::Tensor& minimum,
                                             const Paraboloid& error, const weights::BlockType& type) {
  const auto& [aa, ab, bb, ra, rb] = error;
  const auto lowest = ratio(ra * bb - rb * ab, aa * bb - ab * ab).round_();
  Best best;
  best.offer(at::zeros_like(ra), {at::zeros_like(ra), at::zeros_like(ra)});
  for (int beside = -1; beside <= 1; ++beside) {
    const auto s = within(scale, lowest + beside, type.sub_scales);
    const auto t = within(minimum, ratio(rb - s * ab, bb).round_(), type.sub_minima);
    best.offer(s * (s * aa + 2 * (t * ab - ra)) + t * (t * bb - 2 * rb), {s, t});
  }
  return {best.found()[0], best.found()[1]};
}

}  // namespace normtweak::quantize
