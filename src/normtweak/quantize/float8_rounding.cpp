#include "normtweak/quantize/float8_rounding.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full_like.h>

#include <vector>

#include "normtweak/quantize/checks.h"
#include "normtweak/quantize/grid.h"
#include "normtweak/weights/float8.h"

namespace normtweak::quantize {

weights::ScaledWeight quantize_float8(const at::Tensor& weight, at::ScalarType scale_type, bool one_scale) {
  check_weight(weight);
  check_scale_type(scale_type);
  const auto scope = one_scale ? std::vector<std::int64_t>{0, 1} : std::vector<std::int64_t>{1};
  const auto largest = weight.abs().amax(scope, /*keepdim=*/true);
  const auto scales = storable_scales(largest / at::full_like(largest, weights::kLargestE4m3), scale_type);
  check_scales(scales, scale_type);
  // A scale that was rounded down takes the largest weight past 448, and past 464 there would be NaN.
  const auto values = (weight / scales).clamp_(-weights::kLargestE4m3, weights::kLargestE4m3);
  return weights::float8_weight(values.to(at::kFloat8_e4m3fn).view(at::kByte), scales, scale_type);
}

}  // namespace normtweak::quantize
