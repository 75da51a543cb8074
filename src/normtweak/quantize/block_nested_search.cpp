// Grids of the types that nest their scales: integers of the sub-blocks beside the nearest ones are tried, for several
// floats, which are then fitted to integers and codes in turns.
#include <ATen/TensorOperators.h>
#include <ATen/ops/where.h>

#include "normtweak/quantize/block_grid.h"

namespace normtweak::quantize {
namespace {

using weights::BlockType;

constexpr float kDetermined = 1e-6F;  // as for lines: below, integers and codes do not determine both floats

at::Tensor clamped(const at::Tensor& integers, const weights::IntegerRange& range) {
  return integers.clamp(range.lowest, range.highest);
}

// The best integers for a block's floats near those of a line, and the error of each sub-block.
struct Integers {
  at::Tensor errors, scales, minima;  // f32 [n, sub-blocks]
};

Integers best_integers(const BlockGroups& groups, const BlockGrid& floats, const Line& line, const BlockType& type) {
  constexpr int kBeside = 1, kTurns = 2;
  const auto d = floats.scales.unsqueeze(-1);
  const auto m = floats.minima.defined() ? floats.minima.unsqueeze(-1) : at::Tensor();
  const auto nearest = ratio(line.scales, d).round_();
  Best best;
  for (int offset = -kBeside; offset <= kBeside; ++offset) {
    const auto scales = clamped(nearest + offset, type.sub_scales);
    const auto steps = d * scales;
    if (!m.defined()) {
      const Line tried = {steps, {}};
      best.offer(groups.error(groups.sums(tried), tried), {scales});
      continue;
    }
    auto minima = clamped(ratio(line.minima, m).round_(), type.sub_minima);
    for (int turn = 0; turn < kTurns; ++turn) {
      const Line tried = {steps, m * minima};
      const auto sums = groups.sums(tried);
      best.offer(groups.error(sums, tried), {scales, minima});
      // The best minimum for these codes, which are then rounded anew.
      const auto wanted = ratio(groups.mean_sum() - steps * sums.code, groups.total());
      minima = clamped(ratio(wanted, m).round_(), type.sub_minima);
    }
  }
  return {best.errors(), best.found()[0], best.found().size() > 1 ? best.found()[1] : at::Tensor()};
}

// The floats of least squares for given integers and the codes that follow from them.
BlockGrid refitted(const BlockGroups& groups, const BlockGrid& grid) {
  const auto sums = groups.sums(line_of(grid));
  const auto& s = grid.sub_scales;
  const auto uu = (s * s * sums.square).sum(-1), xu = (s * sums.product).sum(-1);
  auto fitted = grid;
  if (!grid.minima.defined()) {
    fitted.scales = as_stored(at::where(uu > 0, ratio(xu, uu), grid.scales));
    return fitted;
  }
  const auto& t = grid.sub_minima;
  const auto vv = (t * t * groups.total()).sum(-1), xv = (t * groups.mean_sum()).sum(-1);
  const auto uv = (s * t * sums.code).sum(-1);
  const auto determinant = uu * vv - uv * uv, known = determinant > uu * vv * kDetermined;
  fitted.scales = as_stored(at::where(known, ratio(xu * vv - uv * xv, determinant), grid.scales));
  fitted.minima = as_stored(at::where(known, ratio(xv * uu - uv * xu, determinant), grid.minima));
  return fitted;
}

// [n]: the one of largest magnitude, with its sign.
at::Tensor extreme(const at::Tensor& scales) {
  return scales.gather(1, scales.abs().argmax(1, /*keepdim=*/true)).squeeze(1);
}

}  // namespace

BlockGrid search_nested(const BlockGroups& groups, const BlockType& type) {
  constexpr double kShares[] = {1, 0.92, 1.08};  // of the float that gives the largest sub-block the end of the range
  constexpr int kTurns = 3;
  const auto ideal = ideal_line(groups, type);
  const auto largest = extreme(ideal.scales);
  Best best;
  for (const int end : {type.sub_scales.highest, type.sub_scales.lowest}) {
    if (end == 0) continue;
    for (const double share : kShares) {
      BlockGrid grid = {.scales = as_stored(largest * (share / end)), .minima = {}, .sub_scales = {}, .sub_minima = {}};
      if (type.has_minimum) grid.minima = as_stored(ideal.minima.amin(1) * (share / type.sub_minima.lowest));
      auto line = ideal;
      for (int turn = 0; turn < kTurns; ++turn) {
        const auto found = best_integers(groups, grid, line, type);
        grid.sub_scales = found.scales;
        grid.sub_minima = found.minima;
        best.offer(found.errors.sum(1), tensors_of(grid));
        if (turn + 1 == kTurns) break;
        const auto fitted = refitted(groups, grid);
        line = line_of(fitted);
        grid = fitted;
      }
    }
  }
  return grid_of(best.found(), type);
}

}  // namespace normtweak::quantize
