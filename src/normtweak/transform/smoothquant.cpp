#include "normtweak/transform/smoothquant.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/where.h>

#include <limits>

#include "normtweak/transform/fold.h"
#include "normtweak/transform/planned_rounding.h"

namespace normtweak::transform {
namespace {

// largest_inputs: of each fold.
Transformed smoothed(const BlockToTransform& what, const std::vector<at::Tensor>& largest_inputs, double alpha) {
  Transformed result = {.folded = what.block, .target = {}, .report = {}};
  for (std::size_t i = 0; i < what.folds.size(); ++i) {
    const auto& fold = what.folds[i];
    std::vector<at::Tensor> weights;
    for (const auto reader : fold.readers) {
      const auto& part = what.block.linears[reader];
      if (plan_of(part, what.plan)) weights.push_back(values_of(part));
    }
    apply(fold, smoothing_scales(largest_inputs[i], weights, alpha), what.config, what.stored, result.folded);
    result.report.folds.push_back({fold.from, fold.to, alpha});
  }
  return result;
}

model::Block rounded_as_planned(model::Block block, const quantize::QuantizationPlan& plan) {
  for (auto& part : block.linears) {
    if (const auto linear_plan = plan_of(part, plan)) {
      part.linear.weight = planned_rounding(values_of(part), *linear_plan);
    }
  }
  return block;
}

Transformed search(const BlockToTransform& what, const std::vector<at::Tensor>& largest_inputs,
                   const BlockCalibration& calibration) {
  constexpr int kSteps = 10;
  Transformed best;
  double least = std::numeric_limits<double>::infinity();
  for (int step = 1; step < kSteps; ++step) {
    auto tried = smoothed(what, largest_inputs, static_cast<double>(step) / kSteps);
    const auto error = calibration.output_error(rounded_as_planned(tried.folded, what.plan));
    if (step > 1 && !(error < least)) continue;
    least = error;
    best = std::move(tried);
  }
  return best;
}

}  // namespace

at::Tensor smoothing_scales(const at::Tensor& largest_input, const std::vector<at::Tensor>& weights, double alpha) {
  constexpr double kLeast = 1e-5;
  at::Tensor largest_weight;
  for (const auto& weight : weights) {
    const auto of_columns = weight.abs().amax(0);
    largest_weight = largest_weight.defined() ? at::maximum(largest_weight, of_columns) : of_columns;
  }
  const auto scales = largest_input.pow(alpha) / largest_weight.clamp_min(kLeast).pow(1 - alpha);
  return at::where(largest_input > 0, scales.clamp_min(kLeast), 1.0);
}

Transformed smoothquant(const BlockToTransform& what, const BlockCalibration& calibration,
                        const TransformOptions& options) {
  std::vector<at::Tensor> largest_inputs;
  for (const auto& fold : what.folds) {
    largest_inputs.push_back(calibration.inputs(fold.place.kind, false).at(fold.place).largest);
  }
  auto result =
      options.alpha ? smoothed(what, largest_inputs, *options.alpha) : search(what, largest_inputs, calibration);
  result.target = result.folded;
  return result;
}

}  // namespace normtweak::transform
