#include "normtweak/quantize/affine_columns.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "normtweak/quantize/checks.h"

namespace normtweak::quantize {

AffineColumns::AffineColumns(const at::Tensor& weight, const AffineOptions& options)
    : scales(at::empty({weight.size(0) / resolve_group_size(options.group_size, weight.size(0)), weight.size(1)},
                       weight.options())),
      zeros(at::empty_like(scales)),
      options_(options),
      group_size_(resolve_group_size(options.group_size, weight.size(0))) {}

AffineColumns::AffineColumns(const weights::AffineWeight& weight)
    : scales(padded_columns(weight.scales, /*padding=*/1)),
      zeros(padded_columns(weight.zeros)),
      options_({.bits = weight.bits,
                .group_size = weight.group_size,
                .symmetric = weight.symmetric,
                .float_zeros = weight.float_zeros,
                .scale_type = weight.scale_type,
                .loaded_type = weight.loaded_type}),
      group_size_(weights::columns_per_group(weight)) {}

void AffineColumns::fit(std::int64_t first, const at::Tensor& values, const at::Tensor&) {
  const auto grid = fit_grid(values.view({-1, group_size_, values.size(1)}).transpose(1, 2), options_);
  const auto group = first / group_size_;
  scales.narrow(0, group, grid.scales.size(0)).copy_(grid.scales);
  zeros.narrow(0, group, grid.zeros.size(0)).copy_(grid.zeros);
}

ColumnGrids AffineColumns::grids(std::int64_t first, std::int64_t last) const {
  const auto begin = first / group_size_, end = (last - 1) / group_size_ + 1;
  const auto own = zeros.slice(0, begin, end);
  return {.scales = scales.slice(0, begin, end),
          .lowest = -own,
          .highest = ((1 << options_.bits) - 1) - own,
          .phase = options_.float_zeros ? phase_of(own) : at::Tensor(),
          .grid_of = grid_of_columns(first, last, group_size_, scales.device())};
}

weights::AffineWeight AffineColumns::weight_of(const at::Tensor& steps, std::int64_t out) const {
  const auto codes = (steps.view({-1, group_size_, steps.size(1)}) + zeros.unsqueeze(1)).round_().to(at::kByte);
  const auto for_channels = [out](const at::Tensor& by_column) { return by_column.t().slice(0, 0, out).contiguous(); };
  return affine_weight(for_channels(codes.view(steps.sizes())), {for_channels(scales), for_channels(zeros)}, options_);
}

}  // namespace normtweak::quantize
