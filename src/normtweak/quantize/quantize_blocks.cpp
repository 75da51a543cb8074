// Rounding to the nearest point of the searched grids.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones.h>

#include "normtweak/base/error.h"
#include "normtweak/quantize/block_group.h"
#include "normtweak/quantize/block_search.h"
#include "normtweak/quantize/checks.h"

namespace normtweak::quantize {
namespace {

void check_importance(const at::Tensor& importance, std::int64_t columns) {
  if (importance.dim() != 1 || importance.size(0) != columns) {
    fail("an importance of shape {} does not belong to {} input columns", c10::str(importance.sizes()), columns);
  }
  check_finite(importance, "the importance");
  if ((importance < 0).any().item<bool>()) fail("the importance of a column is below 0");
}

at::Tensor joined(const at::Tensor& by_block, std::int64_t out, at::ScalarType type) {
  return by_block.defined() ? by_block.reshape({out, -1}).to(type) : by_block;
}

}  // namespace

weights::BlockWeight block_weight(const at::Tensor& codes, const BlockGrid& grid, const weights::BlockType& type) {
  const auto out = codes.size(0);
  return {.codes = (codes + weights::kBlockZero).to(at::kByte),
          .sub_scales = joined(grid.sub_scales, out, at::kChar),
          .sub_minima = joined(grid.sub_minima, out, at::kChar),
          .scales = joined(grid.scales, out, at::kFloat),
          .minima = joined(grid.minima, out, at::kFloat),
          .sub_size = type.sub_size,
          .block_size = type.block_size,
          .bits = type.bits(),
          .type_name = type.name};
}

const weights::BlockType& find_block_type(std::string_view name) {
  if (const auto* found = weights::find_block_type(name)) return *found;
  std::string known;
  for (const auto& type : weights::kBlockTypes) known += (known.empty() ? "" : ", ") + std::string(type.name);
  fail("'{}' is not a block type that weights are quantized to; there are {}", name, known);
}

void check_whole_blocks(at::IntArrayRef shape, const weights::BlockType& type) {
  if (shape.size() != 2) fail("only matrices [out, in] can be quantized");
  if (shape[1] % type.block_size == 0) return;
  fail("{} columns are no whole blocks of {}, which have {}", shape[1], type.name, type.block_size);
}

at::Tensor nearest_codes(const at::Tensor& values, const at::Tensor& scales, const at::Tensor& minima,
                         const weights::BlockType& type) {
  const auto offset = minima.defined() ? values - minima.unsqueeze(-1) : values;
  return round_to_codes(ratio(offset, scales.unsqueeze(-1)), type);
}

weights::BlockWeight quantize_blocks(const at::Tensor& weight, const weights::BlockType& type,
                                     const at::Tensor& importance) {
  const at::NoGradGuard no_grad;
  check_weight(weight);
  check_whole_blocks(weight.sizes(), type);
  const auto out = weight.size(0), in = weight.size(1), blocks = in / type.block_size;
  if (importance.defined()) check_importance(importance, in);
  const auto columns = importance.defined() ? importance.to(weight.options()) : at::ones({in}, weight.options());
  const auto of_blocks =
      columns.view({1, blocks, type.block_size}).expand({out, blocks, type.block_size}).reshape({-1, type.block_size});
  const auto grid = search_blocks(weight.reshape({-1, type.block_size}), of_blocks, type);
  const auto lines = sub_grid(grid);
  const auto codes = nearest_codes(weight.reshape({out * blocks, -1, type.sub_size}), lines.scales, lines.minima, type);
  return block_weight(codes.view({out, in}), grid, type);
}

}  // namespace normtweak::quantize
