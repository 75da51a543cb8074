#include "normtweak/base/device/finite.h"

#include <ATen/ops/aminmax.h>

#include <cmath>

namespace normtweak {

bool all_finite(const at::Tensor& tensor) {
  if (tensor.numel() == 0) return true;
  if (c10::isFloat8Type(tensor.scalar_type())) return all_finite(tensor.to(at::kFloat));  // aminmax has no 8-bit floats
  const auto [least, largest] = at::aminmax(tensor);
  return std::isfinite(least.item<double>()) && std::isfinite(largest.item<double>());
}

}  // namespace normtweak
