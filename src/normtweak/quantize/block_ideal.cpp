// Lines through the weights of a group, before anything is rounded as a file stores it.
#include <ATen/TensorOperators.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>

#include "normtweak/quantize/block_group.h"

namespace normtweak::quantize {
namespace {

constexpr int kTurns = 2;  // of rounding and least squares, after the candidates

// Without minima. The value of largest magnitude is given the lowest or the highest code, or lies beyond it by a share
// that depends on how many codes there are: few codes clip more. With very many, the error has many low points, also
// where the outer codes are left unused.
Line ideal_scales(const BlockGroups& groups, const weights::BlockType& type) {
  const auto count = type.code_count();
  const int shares = count <= 64 ? 12 : 24;
  const double least = count <= 8 ? 0.35 : count <= 32 ? 0.55 : count <= 64 ? 0.8 : 0.96;
  const double most = count <= 64 ? 1.05 : 1.2;
  const auto& values = groups.values();
  const auto extreme = values.gather(-1, values.abs().argmax(-1, /*keepdim=*/true)).squeeze(-1);
  Best best;
  for (int i = 0; i < shares; ++i) {
    const double share = most + (least - most) * i / (shares - 1);
    for (const int end : {type.codes.lowest, type.codes.highest}) {
      const auto sums = groups.sums({extreme * (share / end), {}});
      const auto fitted = groups.fitted(sums, false);
      best.offer(groups.error(sums, fitted), {fitted.scales});
    }
  }
  return {best.found()[0], {}};
}

// With minima. Each end of the range is moved inward, or a little outward, by parts of a step.
Line ideal_lines(const BlockGroups& groups, const weights::BlockType& type) {
  constexpr int kShifts = 6;
  constexpr double kOutward = -0.1, kMostInward = 1.9;
  const double steps = type.codes.highest, inward = std::min(kMostInward, 0.3 * steps);
  const bool below = type.has_sub_blocks();  // whose minima have one sign
  auto low = groups.values().amin(-1), high = groups.values().amax(-1);
  if (below) low = low.clamp_max(0);
  const auto step = (high - low) / steps;
  const auto shift = [&](int i) { return step * (kOutward + (inward - kOutward) * i / (kShifts - 1)); };
  Best best;
  for (int i = 0; i < kShifts; ++i) {
    auto lowest = low + shift(i);
    if (below) lowest = lowest.clamp_max(0);
    for (int j = 0; j < kShifts; ++j) {
      const auto scale = (high - shift(j) - lowest).clamp_min(0) / steps;
      const auto sums = groups.sums({scale, lowest});
      const auto fitted = groups.fitted(sums, below);
      best.offer(groups.error(sums, fitted), {fitted.scales, fitted.minima});
    }
  }
  return {best.found()[0], best.found()[1]};
}

}  // namespace

Line ideal_line(const BlockGroups& groups, const weights::BlockType& type) {
  auto line = type.has_minimum ? ideal_lines(groups, type) : ideal_scales(groups, type);
  for (int turn = 0; turn < kTurns; ++turn) line = groups.fitted(groups.sums(line), type.has_sub_blocks());
  return line;
}

}  // namespace normtweak::quantize
