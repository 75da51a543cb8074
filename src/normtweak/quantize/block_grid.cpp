#include "normtweak/quantize/block_grid.h"

#include <ATen/TensorOperators.h>

namespace normtweak::quantize {
namespace {

at::Tensor product(const at::Tensor& floats, const at::Tensor& integers) {
  if (!floats.defined()) return floats;
  return integers.defined() ? floats.unsqueeze(-1) * integers : floats.unsqueeze(-1);
}

}  // namespace

at::Tensor as_stored(const at::Tensor& floats) { return floats.to(at::kHalf).to(at::kFloat); }

// The tensors of a grid that the type has.
std::vector<at::Tensor> tensors_of(const BlockGrid& grid) {
  std::vector<at::Tensor> all = {grid.scales};
  for (const auto& part : {grid.minima, grid.sub_scales, grid.sub_minima}) {
    if (part.defined()) all.push_back(part);
  }
  return all;
}

BlockGrid grid_of(const std::vector<at::Tensor>& parts, const weights::BlockType& type) {
  auto part = parts.begin();
  BlockGrid grid = {.scales = *part++, .minima = {}, .sub_scales = {}, .sub_minima = {}};
  if (type.has_minimum) grid.minima = *part++;
  if (type.has_sub_blocks()) grid.sub_scales = *part++;
  if (type.has_sub_blocks() && type.has_minimum) grid.sub_minima = *part++;
  return grid;
}

SubGrid sub_grid(const BlockGrid& grid) {
  return {product(grid.scales, grid.sub_scales), product(grid.minima, grid.sub_minima)};
}

Line line_of(const BlockGrid& grid) {
  const auto lines = sub_grid(grid);
  return {lines.scales, lines.minima};
}

}  // namespace normtweak::quantize
