#include "normtweak/quantize/gptq.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>

#include <vector>

#include "normtweak/quantize/affine_columns.h"
#include "normtweak/quantize/block_columns.h"
#include "normtweak/quantize/channel_rows.h"
#include "normtweak/quantize/checks.h"
#include "normtweak/quantize/codebook_columns.h"
#include "normtweak/quantize/codebook_fit.h"
#include "normtweak/quantize/gptq_run.h"
#include "normtweak/quantize/product_precision.h"

namespace normtweak::quantize {
namespace {

// Of slices of the channels, in order.
template <class Weight>
Weight joined(std::vector<Weight>& slices) {
  if (slices.size() == 1) return slices.front();
  auto whole = slices.front();
  const auto tensors = channel_tensors(whole);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (!tensors[i]->defined()) continue;
    std::vector<at::Tensor> parts;
    parts.reserve(slices.size());
    for (auto& slice : slices) parts.push_back(*channel_tensors(slice)[i]);
    *tensors[i] = at::cat(parts);
  }
  return whole;
}

// Grid: a GptqGrid, made of the columns of a slice and the options.
template <class Grid, class Options>
auto quantize_on(const at::Tensor& weight, const HessianFactor& factor, const Options& options) {
  const at::NoGradGuard no_grad;
  const RoundingProducts precision;
  auto slices = for_channels(weight, [&](const at::Tensor& slice) {
    const auto columns = padded_columns(slice);
    Grid grid(columns, options);
    const auto steps = run_gptq(columns, factor, grid);
    return grid.weight_of(steps, slice.size(0));
  });
  return joined(slices);
}

}  // namespace

weights::AffineWeight quantize_gptq(const at::Tensor& weight, const HessianFactor& factor,
                                    const AffineOptions& options) {
  check_gptq(weight, factor);
  auto result = quantize_on<AffineColumns>(weight, factor, options);
  check_scales(result.scales, options.scale_type, options.loaded_type);
  return result;
}

weights::BlockWeight quantize_gptq(const at::Tensor& weight, const HessianFactor& factor,
                                   const weights::BlockType& type) {
  check_gptq(weight, factor);
  check_whole_blocks(weight.sizes(), type);
  return quantize_on<BlockColumns>(weight, factor, type);
}

weights::CodebookWeight quantize_gptq(const at::Tensor& weight, const HessianFactor& factor,
                                      const KmeansOptions& options) {
  check_gptq(weight, factor);
  check_bits(options.bits);
  check_scale_type(options.codebook_type);
  auto result = quantize_on<CodebookColumns>(weight, factor, options);
  check_codebooks(result.codebook, options.codebook_type);
  return result;
}

}  // namespace normtweak::quantize
