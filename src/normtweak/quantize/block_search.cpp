#include "normtweak/quantize/block_search.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/where.h>

#include <algorithm>

#include "normtweak/base/device/finite.h"
#include "normtweak/base/error.h"
#include "normtweak/quantize/block_grid.h"
#include "normtweak/quantize/block_group.h"
#include "normtweak/quantize/channel_slices.h"

namespace normtweak::quantize {
namespace {

using weights::BlockType;

// Values searched at a time: bounded by the cache on the CPU, and by the memory of temporaries on a GPU.
constexpr std::int64_t kTileCpu = 1 << 15, kTileGpu = 1 << 24;

constexpr double kUnusedShare = 1e-3;  // of the block's mean importance, for a sub-block that has none

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

BlockGrid search_blocks(const at::Tensor& values, const at::Tensor& importance, const BlockType& type) {
  const at::NoGradGuard no_grad;
  const auto count = values.size(0);
  const auto grid = empty_grid(count, type, values.options());
  const auto targets = tensors_of(grid);
  const auto search = [&](std::int64_t first, std::int64_t size) {
    const auto own = importance.size(0) == 1 ? importance : importance.narrow(0, first, size);
    const auto found = tensors_of(search_tile(values.narrow(0, first, size).contiguous(), own, type));
    for (std::size_t i = 0; i < targets.size(); ++i) targets[i].narrow(0, first, size).copy_(found[i]);
  };
  const auto tile = std::max<std::int64_t>(1, (values.is_cpu() ? kTileCpu : kTileGpu) / type.block_size);
  for_each_slice(values.device(), count, tile, search);
  check_floats(grid);
  return grid;
}

}  // namespace normtweak::quantize
