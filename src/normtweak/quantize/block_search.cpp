#include "normtweak/quantize/block_search.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/where.h>

#include <algorithm>

#include "normtweak/base/device/finite.h"
#include "normtweak/base/error.h"
#include "normtweak/quantize/block_group.h"
#include "normtweak/quantize/channel_slices.h"

namespace normtweak::quantize {
namespace {

using weights::BlockType;

// Values searched at a time: bounded by the cache on the CPU, and by the memory of temporaries on a GPU.
constexpr std::int64_t kTileCpu = 1 << 15, kTileGpu = 1 << 24;

constexpr float kDetermined = 1e-6F;  // as for lines: below, integers and codes do not determine both floats

constexpr double kUnusedShare = 1e-3;  // of the block's mean importance, for a sub-block that has none

at::Tensor as_stored(const at::Tensor& floats) { return floats.to(at::kHalf).to(at::kFloat); }

at::Tensor product(const at::Tensor& floats, const at::Tensor& integers) {
  if (!floats.defined()) return floats;
  return integers.defined() ? floats.unsqueeze(-1) * integers : floats.unsqueeze(-1);
}

at::Tensor clamped(const at::Tensor& integers, const weights::IntegerRange& range) {
  return integers.clamp(range.lowest, range.highest);
}

// The tensors of a grid that the type has.
std::vector<at::Tensor> parts(const BlockGrid& grid) {
  std::vector<at::Tensor> all = {grid.scales};
  for (const auto& part : {grid.minima, grid.sub_scales, grid.sub_minima}) {
    if (part.defined()) all.push_back(part);
  }
  return all;
}

BlockGrid grid_of(const std::vector<at::Tensor>& parts, const BlockType& type) {
  auto part = parts.begin();
  BlockGrid grid = {.scales = *part++, .minima = {}, .sub_scales = {}, .sub_minima = {}};
  if (type.has_minimum) grid.minima = *part++;
  if (type.has_sub_blocks()) grid.sub_scales = *part++;
  if (type.has_sub_blocks() && type.has_minimum) grid.sub_minima = *part++;
  return grid;
}

Line line_of(const BlockGrid& grid) {
  const auto lines = sub_grid(grid);
  return {lines.scales, lines.minima};
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
        best.offer(found.errors.sum(1), parts(grid));
        if (turn + 1 == kTurns) break;
        const auto fitted = refitted(groups, grid);
        line = line_of(fitted);
        grid = fitted;
      }
    }
  }
  return grid_of(best.found(), type);
}

BlockGrid search_tile(const at::Tensor& values, const at::Tensor& importance, const BlockType& type) {
  const auto as_groups = [&](const at::Tensor& all) {
    return all.reshape({all.size(0), type.block_size / type.sub_size, type.sub_size});
  };
  const auto own = as_groups(importance);
  const auto mean = own.mean({1, 2}, /*keepdim=*/true);
  const auto least = at::where(mean > 0, mean * kUnusedShare, 1.0);
  const auto counted = at::where(own.sum(-1, /*keepdim=*/true) > 0, own, least);
  const BlockGroups groups(as_groups(values), counted, type);
  if (type.has_sub_blocks()) return search_nested(groups, type);
  const auto line = ideal_line(groups, type);
  BlockGrid grid = {.scales = as_stored(line.scales).squeeze(1), .minima = {}, .sub_scales = {}, .sub_minima = {}};
  if (type.has_minimum) grid.minima = as_stored(line.minima).squeeze(1);
  return grid;
}

// Undefined tensors where the type has none.
BlockGrid empty_grid(std::int64_t count, const BlockType& type, const at::TensorOptions& options) {
  std::vector<at::Tensor> all;
  const int floats = type.has_minimum ? 2 : 1;
  for (int i = 0; i < floats; ++i) all.push_back(at::empty({count}, options));
  for (int i = 0; i < floats && type.has_sub_blocks(); ++i) {
    all.push_back(at::empty({count, type.block_size / type.sub_size}, options));
  }
  return grid_of(all, type);
}

void check_floats(const BlockGrid& grid) {
  if (all_finite(grid.scales) && (!grid.minima.defined() || all_finite(grid.minima))) return;
  fail("a block's range is too large for a scale stored as float16; leave this linear in float");
}

}  // namespace

SubGrid sub_grid(const BlockGrid& grid) {
  return {product(grid.scales, grid.sub_scales), product(grid.minima, grid.sub_minima)};
}

BlockGrid search_blocks(const at::Tensor& values, const at::Tensor& importance, const BlockType& type) {
  const at::NoGradGuard no_grad;
  const auto count = values.size(0);
  const auto grid = empty_grid(count, type, values.options());
  const auto targets = parts(grid);
  const auto search = [&](std::int64_t first, std::int64_t size) {
    const auto own = importance.size(0) == 1 ? importance : importance.narrow(0, first, size);
    const auto found = parts(search_tile(values.narrow(0, first, size).contiguous(), own, type));
    for (std::size_t i = 0; i < targets.size(); ++i) targets[i].narrow(0, first, size).copy_(found[i]);
  };
  const auto tile = std::max<std::int64_t>(1, (values.is_cpu() ? kTileCpu : kTileGpu) / type.block_size);
  if (values.is_cpu()) {
    for_each_slice(count, tile, search);
  } else {
    for (std::int64_t first = 0; first < count; first += tile) search(first, std::min(tile, count - first));
  }
  check_floats(grid);
  return grid;
}

}  // namespace normtweak::quantize
