#include "normtweak/weights/activation_quantizer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/max.h>
#include <ATen/ops/where.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "normtweak/base/device/type_name.h"
#include "normtweak/base/error.h"
#include "normtweak/weights/float8.h"

namespace normtweak::weights {
namespace {

struct Codes {
  double least, most;
};

Codes codes_of(const ActivationSettings& settings) {
  if (settings.floats) return {-kLargestE4m3, kLargestE4m3};
  const double half = 1 << (settings.bits - 1);
  return {-half, half - 1};
}

// f32, of one shape; `zero` is undefined if symmetric.
struct Grid {
  at::Tensor scale, zero;
};

// A range of nothing but 0 gets the scale that compressed-tensors gives it.
at::Tensor positive(const at::Tensor& scale) {
  return at::where(scale == 0, static_cast<double>(std::numeric_limits<float>::epsilon()), scale);
}

at::Tensor zero_of(const at::Tensor& least, const at::Tensor& scale, const Codes& codes) {
  return (codes.least - least / scale).clamp_(codes.least, codes.most).round_();
}

// least, largest: f32, bounds of the values that share a scale.
at::Tensor scale_of(const ActivationSettings& settings, const at::Tensor& least, const at::Tensor& largest) {
  const auto [first, last] = codes_of(settings);
  // Divided by a tensor: on a GPU, division by a number is a product with its rounded reciprocal.
  const auto divided = [](const at::Tensor& range, double by) { return range / at::full({1}, by, range.options()); };
  if (settings.symmetric) return positive(divided(at::max(least.abs(), largest.abs()), (last - first) / 2));
  return positive(divided(largest - least, last - first));
}

Grid dynamic_grid(const ActivationSettings& settings, const at::Tensor& x) {
  const auto least = x.amin(-1, /*keepdim=*/true).clamp_max_(0), largest = x.amax(-1, /*keepdim=*/true).clamp_min_(0);
  const auto scale = scale_of(settings, least, largest);
  return {scale, settings.symmetric ? at::Tensor() : zero_of(least, scale, codes_of(settings))};
}

Grid static_grid(const ActivationQuantizer& quantizer, const at::TensorOptions& options) {
  return {at::full({1}, quantizer.scale, options),
          quantizer.settings.symmetric ? at::Tensor() : at::full({1}, quantizer.zero, options)};
}

// f32 values, and whether they are a copy, which may be written to.
struct Wide {
  at::Tensor values;
  bool is_copy;
};
Wide widened(const at::Tensor& x) { return {x.detach().to(at::kFloat), x.scalar_type() != at::kFloat}; }

// Before clamping and rounding; not `x` itself.
at::Tensor scaled(const Grid& grid, const Wide& x) {
  auto codes = x.is_copy ? x.values.div_(grid.scale) : x.values / grid.scale;
  return grid.zero.defined() ? codes.add_(grid.zero) : codes;
}

at::Tensor rounded(const ActivationSettings& settings, const Grid& grid, const Wide& x) {
  const auto [least, most] = codes_of(settings);
  auto codes = scaled(grid, x).clamp_(least, most);
  codes = settings.floats ? codes.to(at::kFloat8_e4m3fn).to(at::kFloat) : codes.round_();
  if (grid.zero.defined()) codes.sub_(grid.zero);
  return codes.mul_(grid.scale);
}

}  // namespace

ActivationQuantizer with_range(const ActivationSettings& settings, float least, float largest,
                               at::ScalarType scale_type) {
  const auto low = at::full({1}, std::min(least, 0.0F), at::kFloat);
  const auto high = at::full({1}, std::max(largest, 0.0F), at::kFloat);
  const auto scale = positive(scale_of(settings, low, high).to(scale_type).to(at::kFloat));
  ActivationQuantizer quantizer = {.settings = settings, .scale = scale.item<float>(), .scale_type = scale_type};
  if (!std::isfinite(quantizer.scale)) {
    fail("its inputs lie between {:g} and {:g}, whose scale is too large for {}", least, largest,
         type_name(scale_type));
  }
  if (!settings.symmetric) quantizer.zero = zero_of(low, scale, codes_of(settings)).item<int>();
  return quantizer;
}

at::Tensor round_activations(const ActivationQuantizer& quantizer, const at::Tensor& x) {
  const auto& settings = quantizer.settings;
  auto wide = widened(x);
  if (!settings.dynamic) {
    return rounded(settings, static_grid(quantizer, wide.values.options()), wide).to(x.scalar_type());
  }
  if (x.numel() == 0) return x.detach();
  if (settings.group_size > 0) wide.values = wide.values.unflatten(-1, {-1, settings.group_size});
  return rounded(settings, dynamic_grid(settings, wide.values), wide).reshape(x.sizes()).to(x.scalar_type());
}

at::Tensor within_range(const ActivationQuantizer& quantizer, const at::Tensor& x) {
  const auto wide = widened(x);
  const auto [least, most] = codes_of(quantizer.settings);
  const auto codes = scaled(static_grid(quantizer, wide.values.options()), wide).round_();
  return codes.ge(least).logical_and_(codes.le(most));
}

std::string describe(const ActivationSettings& settings) {
  const auto values = settings.floats ? "FP8" : fmt::format("{} bits", settings.bits);
  const auto* zero = settings.symmetric ? "" : ", asymmetric";
  if (!settings.dynamic) return fmt::format("{}, static{}", values, zero);
  const auto shared = settings.group_size > 0 ? fmt::format("group of {}", settings.group_size) : "token";
  return fmt::format("{}, dynamic per {}{}", values, shared, zero);
}

}  // namespace normtweak::weights
