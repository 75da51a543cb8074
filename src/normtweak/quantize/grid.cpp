#include "normtweak/quantize/grid.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/aminmax.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <limits>

#include "normtweak/base/device/finite.h"
#include "normtweak/base/device/type_name.h"
#include "normtweak/base/error.h"
#include "normtweak/quantize/channel_slices.h"
#include "normtweak/quantize/checks.h"
#include "normtweak/quantize/grid_search.h"

namespace normtweak::quantize {
namespace {

constexpr int kSearchSteps = 80;      // with kSearchStep: maxshrink 0.8 and grid 100 of the GPTQ code
constexpr double kSearchStep = 0.01;  // share of the range removed per step

// Values searched at a time, whatever the size of the model: bounded by the cache on the CPU, and by the memory of the
// candidates on a GPU.
constexpr std::int64_t kTileCpu = 1 << 15, kTileGpu = 1 << 22;

// bfloat16 has the exponent range of F32.
double smallest_normal(at::ScalarType type) { return type == at::kHalf ? 0x1p-14 : std::numeric_limits<float>::min(); }

double top_code(int bits) { return (1 << bits) - 1; }

Range range_of(const at::Tensor& groups, bool symmetric) {
  auto [low, high] = range_of_groups(groups);
  if (!symmetric) return {low, high};
  auto reach = at::where(high < -low, -low, high);
  return {-reach, reach};
}

Grid grid_of(const Range& range, const AffineOptions& options) {
  const auto top = top_code(options.bits);
  // Divides by a tensor: for a plain number CUDA multiplies by its reciprocal, which rounds differently from the CPU.
  auto scales = storable_scales((range.high - range.low) / at::full_like(range.high, top), options.scale_type,
                                options.loaded_type);
  if (options.symmetric) return {scales, at::full_like(scales, 1 << (options.bits - 1))};
  auto zeros = (-range.low / scales).clamp(0, top);
  if (options.float_zeros) return {scales, as_loaded(zeros, options.scale_type, options.loaded_type)};
  return {scales, zeros.round()};
}

Grid search_rows(const at::Tensor& rows, const at::Tensor& shares, const AffineOptions& options) {
  const auto range = range_of(rows, options.symmetric);
  const auto candidates = grid_of({range.low * shares, range.high * shares}, options);
  auto best = least_error({.groups = rows,
                           .scales = candidates.scales,
                           .zeros = candidates.zeros,
                           .bits = options.bits,
                           .float_zeros = options.float_zeros});
  // A range that overflows the scale dtype is not clamped silently: check_scales() must see it.
  best = at::where(candidates.scales.select(0, 0).isfinite(), best, 0).unsqueeze(0);
  return {candidates.scales.gather(0, best).squeeze(0), candidates.zeros.gather(0, best).squeeze(0)};
}

// f32 [kSearchSteps, 1]: the shares of the range to try.
at::Tensor shares_tried(const at::Tensor& groups) {
  const auto steps = at::arange(kSearchSteps, at::kDouble);
  return (1 - steps * kSearchStep).unsqueeze(1).to(groups.device(), at::kFloat);
}

}  // namespace

Grid fit_grid(const at::Tensor& groups, const AffineOptions& options) {
  check_bits(options.bits);
  check_scale_type(options.scale_type);
  return options.search_grid ? search_grid(groups, options) : range_grid(groups, options);
}

Range range_of_groups(const at::Tensor& groups) {
  const auto [smallest, largest] = at::aminmax(groups, -1);
  return {smallest.clamp_max(0), largest.clamp_min(0)};
}

Grid range_grid(const at::Tensor& groups, const AffineOptions& options) {
  return grid_of(range_of(groups, options.symmetric), options);
}

Grid range_grid(const at::Tensor& groups, const AffineOptions& options, const Range& shares) {
  const auto range = range_of(groups, options.symmetric);
  return grid_of({range.low * (options.symmetric ? shares.high : shares.low), range.high * shares.high}, options);
}

Grid search_grid(const at::Tensor& groups, const AffineOptions& options) {
  const auto shape = groups.sizes().slice(0, static_cast<std::size_t>(groups.dim() - 1));
  const auto rows = groups.reshape({-1, groups.size(-1)});
  const auto scales = at::empty_like(rows.select(1, 0)), zeros = at::empty_like(scales);
  const auto shares = shares_tried(rows);
  const auto search = [&](std::int64_t first, std::int64_t count) {
    const auto found = search_rows(rows.narrow(0, first, count).contiguous(), shares, options);
    scales.narrow(0, first, count).copy_(found.scales);
    zeros.narrow(0, first, count).copy_(found.zeros);
  };
  const auto rows_per_tile = rows.is_cpu()
                                 ? std::max<std::int64_t>(1, kTileCpu / rows.size(1) / kSearchedLanes) * kSearchedLanes
                                 : std::max<std::int64_t>(1, kTileGpu / rows.size(1));
  for_each_slice(rows.device(), rows.size(0), rows_per_tile, search);
  return {scales.view(shape), zeros.view(shape)};
}

at::Tensor nearest_steps(const at::Tensor& groups, const Grid& grid, const AffineOptions& options) {
  const auto zeros = grid.zeros.unsqueeze(-1);
  auto steps = groups / grid.scales.unsqueeze(-1);
  const auto top = top_code(options.bits);
  if (options.float_zeros) return steps.add_(zeros).round_().clamp_(0, top).sub_(zeros);
  return steps.round_().clamp_(-zeros, top - zeros);
}

weights::AffineWeight affine_weight(const at::Tensor& codes, const Grid& grid, const AffineOptions& options) {
  return {.codes = codes.to(at::kByte),
          .scales = grid.scales,
          .zeros = grid.zeros,
          .bits = options.bits,
          .group_size = options.group_size,
          .symmetric = options.symmetric,
          .float_zeros = options.float_zeros,
          .scale_type = options.scale_type,
          .loaded_type = options.loaded_type};
}

at::Tensor phase_of(const at::Tensor& zeros) { return zeros.round() - zeros; }

at::Tensor as_loaded(const at::Tensor& values, at::ScalarType stored, at::ScalarType loaded) {
  if (loaded == at::kFloat) return values.to(stored).to(at::kFloat);  // F64 values are rounded once
  return values.to(loaded).to(stored).to(loaded).to(at::kFloat);
}

at::Tensor storable_scales(const at::Tensor& scales, at::ScalarType stored, at::ScalarType loaded) {
  const auto least = std::max(smallest_normal(stored), smallest_normal(loaded));
  return as_loaded(scales.clamp_min(least), stored, loaded);
}

void check_scales(const at::Tensor& scales, at::ScalarType stored, at::ScalarType loaded) {
  if (all_finite(scales)) return;
  if (loaded == at::kHalf && stored != at::kHalf) {
    fail(
        "a group's range is too large for a scale that readers load as {}; store the model as bfloat16 with "
        "--store-dtype bf16, or leave this linear in float",
        type_name(loaded));
  }
  fail(
      "a group's range is too large for a scale stored as {}; leave this linear in float with --rule, or choose a "
      "format whose scales can be bfloat16 or float32, as compressed-tensors with --store-dtype",
      type_name(stored));
}

}  // namespace normtweak::quantize
