#include "normtweak/quantize/block_columns.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <vector>

#include "normtweak/quantize/grid.h"

namespace normtweak::quantize {
namespace {

at::Tensor on_columns(const at::Tensor& channels) { return padded_columns(channels.to(at::kFloat)); }

}  // namespace

BlockColumns::BlockColumns(const at::Tensor& weight, const weights::BlockType& type) : type_(type) {
  const auto in = weight.size(0), out = weight.size(1);
  scales = at::zeros({in / type.block_size, out}, weight.options());
  sub_scales = at::ones({in / type.sub_size, out}, weight.options());
  if (!type.curve.empty()) {
    curve_ = at::tensor(std::vector<float>(type.curve.begin(), type.curve.end()), weight.options());
  }
  if (!type.has_minimum) return;
  minima = at::zeros_like(scales);
  sub_minima = at::ones({in / type.sub_size, out}, weight.options());
}

BlockColumns::BlockColumns(const weights::BlockWeight& weight, const weights::BlockType& type)
    : BlockColumns(on_columns(weight.codes), type) {
  scales = on_columns(weight.scales);
  if (weight.minima.defined()) minima = on_columns(weight.minima);
  if (weight.sub_scales.defined()) sub_scales = on_columns(weight.sub_scales);
  if (weight.sub_minima.defined()) sub_minima = on_columns(weight.sub_minima);
}

void BlockColumns::fit(std::int64_t first, const at::Tensor& values, const at::Tensor& importance) {
  const auto count = values.size(0) / type_.block_size, out = values.size(1);
  const auto blocks = values.view({count, type_.block_size, out}).transpose(1, 2).reshape({-1, type_.block_size});
  const auto costs =
      importance.view({count, 1, -1}).expand({count, out, type_.block_size}).reshape({-1, type_.block_size});
  const auto grid = search_blocks(blocks, costs, type_);
  const auto block = first / type_.block_size;
  const auto keep = [&](at::Tensor& all, const at::Tensor& found) {
    if (found.defined()) all.narrow(0, block, count).copy_(found.view({count, out}));
  };
  const auto keep_subs = [&](at::Tensor& all, const at::Tensor& found) {
    if (!found.defined()) return;
    const auto by_sub = found.view({count, out, -1}).transpose(1, 2);
    all.narrow(0, block * subs_per_block(), count * subs_per_block()).copy_(by_sub.reshape({-1, out}));
  };
  keep(scales, grid.scales);
  keep(minima, grid.minima);
  keep_subs(sub_scales, grid.sub_scales);
  keep_subs(sub_minima, grid.sub_minima);
}

SubGrid BlockColumns::of_subs(const at::Tensor& subs) const {
  const auto blocks = subs.div(subs_per_block(), "floor");
  SubGrid grid = {.scales = scales.index_select(0, blocks) * sub_scales.index_select(0, subs), .minima = {}};
  if (minima.defined()) grid.minima = minima.index_select(0, blocks) * sub_minima.index_select(0, subs);
  return grid;
}

ColumnGrids BlockColumns::grids(std::int64_t first, std::int64_t last) const {
  const auto subs =
      at::arange(first / type_.sub_size, (last - 1) / type_.sub_size + 1, scales.options().dtype(at::kLong));
  const auto grid = of_subs(subs);
  const auto grid_of = grid_of_columns(first, last, type_.sub_size, scales.device());
  if (curve_.defined()) return {.scales = grid.scales, .curve = curve_, .grid_of = grid_of};
  // A scale of 0 leaves the minimum alone: one step of size 1, so that nothing is divided by 0.
  const auto empty = grid.scales == 0;
  const auto steps = at::where(empty, 1.0, grid.scales);
  const auto offset = grid.minima.defined() ? grid.minima / steps : at::zeros_like(steps);
  return {.scales = steps,
          .lowest = at::where(empty, offset, offset + type_.codes.lowest),
          .highest = at::where(empty, offset, offset + type_.codes.highest),
          .phase = grid.minima.defined() ? -phase_of(offset) : at::Tensor(),
          .grid_of = grid_of};
}

at::Tensor BlockColumns::codes_of(const at::Tensor& columns, const at::Tensor& steps) const {
  if (!minima.defined()) return steps;
  const auto grid = of_subs(columns.div(type_.sub_size, "floor"));
  const auto offset = grid.minima / at::where(grid.scales == 0, 1.0, grid.scales);
  return (steps - offset).round_().clamp_(type_.codes.lowest, type_.codes.highest);
}

at::Tensor BlockColumns::values(const at::Tensor& codes) const {
  const auto grid = of_subs(at::arange(sub_scales.size(0), scales.options().dtype(at::kLong)));
  const auto by_sub = codes.view({-1, type_.sub_size, codes.size(1)}) * grid.scales.unsqueeze(1);
  return (grid.minima.defined() ? by_sub + grid.minima.unsqueeze(1) : by_sub).view(codes.sizes());
}

weights::BlockWeight BlockColumns::weight_of_codes(const at::Tensor& codes, std::int64_t out) const {
  const auto for_channels = [out](const at::Tensor& by_column) {
    return by_column.defined() ? by_column.t().slice(0, 0, out).contiguous() : by_column;
  };
  const bool nested = type_.has_sub_blocks();
  return block_weight(for_channels(codes),
                      {.scales = for_channels(scales),
                       .minima = for_channels(minima),
                       .sub_scales = nested ? for_channels(sub_scales) : at::Tensor(),
                       .sub_minima = nested ? for_channels(sub_minima) : at::Tensor()},
                      type_);
}

weights::BlockWeight BlockColumns::weight_of(const at::Tensor& steps, std::int64_t out) const {
  return weight_of_codes(codes_of(at::arange(steps.size(0), steps.options().dtype(at::kLong)), steps), out);
}

}  // namespace normtweak::quantize
