#include "normtweak/pipeline/transform_block.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/where.h>

#include "normtweak/base/error.h"
#include "normtweak/pipeline/place_inputs.h"

namespace normtweak::pipeline {
namespace {

using Inputs = transform::BlockCalibration::Inputs;

model::Block in_type(model::Block block, at::ScalarType type) {
  for (auto& part : block.linears) {
    if (auto* floats = std::get_if<weights::FloatWeight>(&part.linear.weight)) floats->values = floats->values.to(type);
  }
  return block;
}

// Answers a transform's questions about a block.
class Calibration {
 public:
  Calibration(const model::Block& passes, const BlockStreams& streams, const Processes& processes)
      : passes_(passes), streams_(streams), processes_(processes) {}

  Inputs inputs(model::PlaceKind kind, bool with_hessian) const {
    std::map<model::Place, transform::InputAccumulator> sums;
    for (const auto& part : passes_.linears) {
      if (part.place().kind != kind) continue;
      const auto in = weights::shape(part.linear.weight)[1];
      sums.try_emplace(part.place(), in, streams_.quantized.hidden().device(), with_hessian);
    }
    streams_.quantized.in_parts([&](std::int64_t begin, std::int64_t count) {
      const auto& context = streams_.quantized.context();
      const auto hidden = streams_.quantized.hidden().narrow(0, begin, count);
      const auto& weights = streams_.weights[static_cast<std::size_t>(kind)];
      const auto of_rows = weights.defined() ? weights.narrow(0, begin, count) : at::Tensor();
      for (const auto& [place, seen] : inputs_at(kind, passes_, hidden, context)) {
        if (const auto sum = sums.find(place); sum != sums.end()) {
          sum->second.add(seen.input, weights_at(seen, of_rows));
        }
      }
    });
    Inputs concluded;
    for (auto& [place, sum] : sums) concluded.emplace(place, sum.conclude(processes_));
    return concluded;
  }

  // On as many of the first rows as one pass takes.
  double output_error(const model::Block& block) {
    const auto& hidden = streams_.quantized.hidden();
    const auto& context = streams_.quantized.context();
    const auto rows = std::min(streams_.quantized.rows_in_part(), hidden.size(0));
    const auto seen = hidden.narrow(0, 0, rows);
    if (!expected_.defined()) expected_ = forward(passes_, seen, context);
    auto errors = (forward(in_type(block, context.type), seen, context) - expected_).pow_(2).sum(-1);
    const auto& weights = streams_.weights[static_cast<std::size_t>(model::PlaceKind::mlp_down)];
    if (weights.defined()) {
      const auto each = weights.narrow(0, 0, rows).to(errors.device(), at::kFloat);
      errors = at::where(each > 0, errors * each, 0.0);  // padding may hold any values
    }
    const auto sum = errors.sum(at::kDouble);
    processes_.all_reduce_sum({sum});
    return sum.item<double>();
  }

 private:
  const model::Block& passes_;
  const BlockStreams& streams_;
  const Processes& processes_;
  at::Tensor expected_;  // f32: the float block's output on these rows
};

// Gives all processes what rank 0 made.
void share(const model::Block& block, const Processes& processes) {
  if (processes.size() == 1) return;
  map_tensors(block, [&](const at::Tensor& tensor) {
    processes.broadcast({tensor});
    return tensor;
  });
}

}  // namespace

TransformedBlock transform_block(const model::Block& passes, const model::Block& exact, const BlockStreams& streams,
                                 const model::Family& family, const quantize::QuantizationPlan& plan,
                                 const transform::TransformOptions& options, at::ScalarType stored,
                                 const Processes& processes) {
  const auto& transform = transform::find_transform(options.name);
  const auto& context = streams.quantized.context();
  const auto folds = planned_folds(transform, family, *context.config, exact.index, plan).folds;
  if (folds.empty()) return {passes, exact, {}};
  Calibration calibration(passes, streams, processes);
  const transform::BlockCalibration asked = {
      .inputs = [&](model::PlaceKind kind, bool with_hessian) { return calibration.inputs(kind, with_hessian); },
      .output_error = [&](const model::Block& block) { return calibration.output_error(block); }};
  auto made = transform.apply({exact, *context.config, folds, plan, stored}, asked, options);
  share(made.folded, processes);
  share(made.target, processes);
  return {in_type(std::move(made.folded), context.type), std::move(made.target), std::move(made.report)};
}

}  // namespace normtweak::pipeline
