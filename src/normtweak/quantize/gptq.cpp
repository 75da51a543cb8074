#include "normtweak/quantize/gptq.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <vector>

#include "normtweak/quantize/checks.h"
#include "normtweak/quantize/gptq_run.h"
#include "normtweak/quantize/product_precision.h"

namespace normtweak::quantize {
namespace {

class AffineGrid : public GptqGrid {
 public:
  AffineGrid(const at::Tensor& weight, const AffineOptions& options)
      : options_(options),
        group_size_(resolve_group_size(options.group_size, weight.size(0))),
        scales_(at::empty({weight.size(0) / group_size_, weight.size(1)}, weight.options())),
        zeros_(at::empty_like(scales_)) {}

  std::int64_t span() const override { return group_size_; }

  void fit(std::int64_t first, const at::Tensor& values, const at::Tensor&) override {
    const auto grid = fit_grid(values.view({-1, group_size_, values.size(1)}).transpose(1, 2), options_);
    const auto group = first / group_size_;
    scales_.narrow(0, group, grid.scales.size(0)).copy_(grid.scales);
    zeros_.narrow(0, group, grid.zeros.size(0)).copy_(grid.zeros);
  }

  ColumnGrids of_columns(const at::Tensor& columns) const override {
    const auto groups = columns.div(group_size_, "floor");
    const auto zeros = zeros_.index_select(0, groups);
    return {.scales = scales_.index_select(0, groups),
            .lowest = -zeros,
            .highest = ((1 << options_.bits) - 1) - zeros,
            .phase = options_.float_zeros ? phase_of(zeros) : at::Tensor(),
            .curve = {}};
  }

  // steps: f32 [in, out], of the first `out` channels.
  weights::AffineWeight weight_of(const at::Tensor& steps, std::int64_t out) const {
    const auto codes = (steps.view({-1, group_size_, steps.size(1)}) + zeros_.unsqueeze(1)).round_().to(at::kByte);
    const auto for_channels = [out](const at::Tensor& by_column) {
      return by_column.t().slice(0, 0, out).contiguous();
    };
    return {.codes = for_channels(codes.view(steps.sizes())),
            .scales = for_channels(scales_),
            .zeros = for_channels(zeros_),
            .bits = options_.bits,
            .group_size = options_.group_size,
            .symmetric = options_.symmetric,
            .float_zeros = options_.float_zeros,
            .scale_type = options_.scale_type};
  }

 private:
  const AffineOptions& options_;
  std::int64_t group_size_;
  at::Tensor scales_, zeros_;  // f32 [groups, out]
};

GptqResult joined(const std::vector<GptqResult>& results) {
  const auto part = [&results](at::Tensor weights::AffineWeight::*field) {
    std::vector<at::Tensor> parts;
    parts.reserve(results.size());
    for (const auto& result : results) parts.push_back(result.weight.*field);
    return at::cat(parts);
  };
  auto whole = results.front();
  whole.weight.codes = part(&weights::AffineWeight::codes);
  whole.weight.scales = part(&weights::AffineWeight::scales);
  whole.weight.zeros = part(&weights::AffineWeight::zeros);
  whole.layer_error = 0;
  for (const auto& result : results) whole.layer_error += result.layer_error;
  return whole;
}

}  // namespace

GptqResult quantize_gptq(const at::Tensor& weight, const HessianFactor& factor, const AffineOptions& options) {
  const at::NoGradGuard no_grad;
  const RoundingProducts precision;
  check_gptq(weight, factor);
  auto result = joined(for_channels(weight, [&](const at::Tensor& slice) {
    const auto columns = padded_columns(slice);
    AffineGrid grid(columns, options);
    const auto [steps, loss] = run_gptq(columns, factor, grid);
    return GptqResult{.weight = grid.weight_of(steps, slice.size(0)), .layer_error = loss, .damping = factor.damping};
  }));
  check_scales(result.weight.scales, options.scale_type);
  return result;
}

}  // namespace normtweak::quantize
