#include "normtweak/quantize/gptq_on_blocks.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>

#include <vector>

#include "normtweak/quantize/block_columns.h"
#include "normtweak/quantize/gptq_run.h"
#include "normtweak/quantize/product_precision.h"

namespace normtweak::quantize {
namespace {

BlockGptqResult joined(const std::vector<BlockGptqResult>& results) {
  auto whole = results.front();
  for (auto field : {&weights::BlockWeight::codes, &weights::BlockWeight::sub_scales, &weights::BlockWeight::sub_minima,
                     &weights::BlockWeight::scales, &weights::BlockWeight::minima}) {
    if (!(whole.weight.*field).defined()) continue;
    std::vector<at::Tensor> parts;
    parts.reserve(results.size());
    for (const auto& result : results) parts.push_back(result.weight.*field);
    whole.weight.*field = at::cat(parts);
  }
  whole.layer_error = 0;
  for (const auto& result : results) whole.layer_error += result.layer_error;
  return whole;
}

}  // namespace

BlockGptqResult quantize_gptq(const at::Tensor& weight, const HessianFactor& factor, const weights::BlockType& type) {
  const at::NoGradGuard no_grad;
  const RoundingProducts precision;
  check_gptq(weight, factor);
  check_whole_blocks(weight.sizes(), type);
  return joined(for_channels(weight, [&](const at::Tensor& slice) {
    const auto columns = padded_columns(slice);
    BlockColumns grid(columns, type);
    const auto [steps, loss] = run_gptq(columns, factor, grid);
    const auto all = at::arange(columns.size(0), columns.options().dtype(at::kLong));
    return BlockGptqResult{.weight = grid.weight_of(grid.codes_of(all, steps), slice.size(0)), .layer_error = loss};
  }));
}

}  // namespace normtweak::quantize
