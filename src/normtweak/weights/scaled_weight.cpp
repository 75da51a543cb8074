#include "normtweak/weights/scaled_weight.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>

namespace normtweak::weights {
namespace {

std::int64_t tiles(std::int64_t size, std::int64_t tile) { return (size + tile - 1) / tile; }

// f32 [out, in]: what the codes stand for, before scaling.
at::Tensor looked_up(const ScaledWeight& weight) {
  return weight.table.index_select(0, weight.codes.flatten().to(at::kInt)).view(weight.codes.sizes());
}

// The scale of each tile, in the shape of the tiles.
at::Tensor tile_scales(const ScaledWeight& weight) {
  if (!weight.sub_scales.defined()) return weight.scales;
  const auto shared = weight.scales.repeat_interleave(weight.nested_size).slice(0, 0, weight.sub_scales.size(0));
  return weight.sub_scales * shared + weight.offset;
}

// [out, in]: each weight's scale.
at::Tensor spread(const ScaledWeight& weight) {
  const auto scales = tile_scales(weight);
  const auto out = weight.codes.size(0), in = weight.codes.size(1);
  if (weight.tile_rows == 0) {
    return scales.repeat_interleave(weight.tile_columns).slice(0, 0, out * in).view({out, in});
  }
  auto wide = scales.size(1) == 1 ? scales : scales.repeat_interleave(weight.tile_columns, 1).slice(1, 0, in);
  if (scales.size(0) > 1 && weight.tile_rows > 1) wide = wide.repeat_interleave(weight.tile_rows, 0).slice(0, 0, out);
  return wide.expand({out, in});
}

// The sum over each tile: [tiles down, tiles across], or [tiles] of runs.
at::Tensor sum_of_tiles(const at::Tensor& values, const ScaledWeight& weight) {
  const auto out = values.size(0), in = values.size(1), columns = weight.tile_columns;
  if (weight.tile_rows == 0) {
    const auto runs = tiles(out * in, columns);
    return at::constant_pad_nd(values.flatten(), {0, runs * columns - out * in}).view({runs, columns}).sum(1);
  }
  const auto rows = weight.tile_rows, down = tiles(out, rows), across = tiles(in, columns);
  const auto padded = at::constant_pad_nd(values, {0, across * columns - in, 0, down * rows - out});
  return padded.view({down, rows, across, columns}).sum({1, 3});
}

}  // namespace

at::Tensor dequantize(const ScaledWeight& weight, at::ScalarType type) {
  return (looked_up(weight) * spread(weight)).to(type);
}

double bits_per_weight(const ScaledWeight& weight) { return weight.bits; }

ScaledGradients reduce_to_tiles(const at::Tensor& gradient, const ScaledWeight& weight, bool with_offset) {
  const auto sums = sum_of_tiles(looked_up(weight) * gradient, weight);
  if (!weight.sub_scales.defined()) return {.scales = sums, .offset = {}};
  const auto nested = weight.scales.size(0), size = weight.nested_size;
  const auto weighted = at::constant_pad_nd(sums * weight.sub_scales, {0, nested * size - sums.size(0)});
  return {.scales = weighted.view({nested, size}).sum(1), .offset = with_offset ? sums.sum().view({1}) : at::Tensor()};
}

}  // namespace normtweak::weights
