#include "normtweak/transform/awq.h"

#include <ATen/TensorOperators.h>

#include <limits>

#include "normtweak/quantize/hessian.h"
#include "normtweak/transform/planned_rounding.h"

namespace normtweak::transform {
namespace {

at::Tensor scales_of(const at::Tensor& mean_absolute, double alpha) {
  constexpr double kLeast = 1e-4;
  const auto scales = mean_absolute.pow(alpha).clamp_min(kLeast);
  return scales / (scales.max() * scales.min()).sqrt();
}

double output_error(const std::vector<ScaledReader>& readers, const at::Tensor& scales) {
  double error = 0;
  for (const auto& [weight, plan, hessian, total_weight] : readers) {
    const auto rounded = weights::dequantize(planned_rounding(weight * scales, plan)) / scales;
    error += quantize::layer_error(weight, rounded, hessian) * total_weight;
  }
  return error;
}

}  // namespace

ScaleChoice search_scales(const at::Tensor& mean_absolute, const std::vector<ScaledReader>& readers) {
  constexpr int kSteps = 20;
  ScaleChoice best;
  double least = std::numeric_limits<double>::infinity();
  for (int step = 0; step < kSteps; ++step) {
    const double alpha = static_cast<double>(step) / kSteps;
    const auto scales = scales_of(mean_absolute, alpha);
    const auto error = output_error(readers, scales);
    if (!(error < least) && step > 0) continue;
    least = error;
    best = {alpha, scales};
  }
  return best;
}

}  // namespace normtweak::transform
