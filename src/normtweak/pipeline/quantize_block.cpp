#include "normtweak/pipeline/quantize_block.h"

#include <array>

#include "normtweak/base/error.h"
#include "normtweak/base/finite.h"
#include "normtweak/quantize/drift.h"
#include "normtweak/quantize/hessian.h"

namespace normtweak::pipeline {
namespace {

// What calibration finds about the inputs of the linears at one place.
struct Observed {
  quantize::InputHessian hessian;
  std::optional<quantize::Drift> drift;
};

// The columns that linears read at each place where one of them wants a Hessian; 0 elsewhere.
std::array<std::int64_t, model::kLinearInputs> wanted_columns(const model::Block& block,
                                                              const quantize::QuantizationPlan& plan) {
  std::array<std::int64_t, model::kLinearInputs> columns = {};
  auto copy = block;
  for (const auto& placed : model::linears(copy)) {
    const auto linear_plan = plan.plan_for(placed.linear->name);
    if (linear_plan && quantize::needs_hessian(*linear_plan)) {
      columns[static_cast<std::size_t>(placed.input)] = weights::shape(placed.linear->weight)[1];
    }
  }
  return columns;
}

// passes: the float block; so_far: the same with the linears before this place quantized.
Observed observe(model::LinearInput place, std::int64_t columns, const model::Block& passes, const model::Block& so_far,
                 const BlockStreams& streams, const Processes& processes) {
  const auto& hidden = streams.quantized.hidden();
  const bool to_residual = place == model::LinearInput::attention_output || place == model::LinearInput::mlp_down;
  quantize::HessianAccumulator hessian(columns, hidden.device());
  std::optional<quantize::DriftAccumulator> drift;
  if (streams.exact != nullptr) drift.emplace(columns, to_residual ? hidden.size(-1) : 0, hidden.device());
  const auto& weights = streams.weights[static_cast<std::size_t>(place)];
  streams.quantized.in_parts([&](std::int64_t begin, std::int64_t count) {
    const auto part = [&](const at::Tensor& all) { return all.narrow(0, begin, count); };
    const auto of_part = weights.defined() ? std::optional(part(weights)) : std::nullopt;
    const auto& context = streams.quantized.context();
    const auto found = forward_to(place, so_far, part(hidden), context);
    hessian.add(found.input, of_part);
    if (!drift) return;
    const auto wanted = forward_to(place, passes, part(streams.exact->hidden()), context);
    drift->add(wanted.input, found.input, wanted.residual, found.residual, of_part);
  });
  hessian.sum_over(processes);
  if (!all_finite(hessian.mean())) {
    fail("block {}: what its linears read is not finite; the weights overflow in this type; try --dtype f32",
         passes.index);
  }
  Observed observed = {.hessian = quantize::InputHessian(hessian.mean()), .drift = std::nullopt};
  if (drift) {
    drift->sum_over(processes);
    observed.drift = drift->mean(hessian.total_weight());
  }
  return observed;
}

weights::Weight quantize_linear(const model::Linear& linear, const quantize::LinearPlan& plan, const Observed& observed,
                                double drift_share) {
  auto values = std::get<weights::FloatWeight>(linear.weight).values;
  try {
    if (observed.drift && quantize::needs_hessian(plan)) {
      const auto& factor = observed.hessian.factor(quantize::factor_options(plan));
      values = quantize::correct_drift(values, factor, *observed.drift, drift_share);
    }
    return quantize::find_quantizer(plan.method).quantize(values, observed.hessian, plan);
  } catch (const Error& error) {
    fail("{}: {}", linear.name, error.what());
  }
}

}  // namespace

bool wants_hessians(const model::Block& block, const quantize::QuantizationPlan& plan) {
  return wanted_columns(block, plan) != decltype(wanted_columns(block, plan)){};
}

model::Block quantize_block(const model::Block& passes, const model::Block& exact, const BlockStreams& streams,
                            const quantize::QuantizationPlan& plan, const Processes& processes) {
  const auto columns = wanted_columns(passes, plan);
  auto quantized = exact, so_far = passes;
  const auto linears = model::linears(quantized), running = model::linears(so_far);
  for (int place = 0; place < model::kLinearInputs; ++place) {
    const auto input = static_cast<model::LinearInput>(place);
    const auto wanted = columns[static_cast<std::size_t>(place)];
    const auto observed = wanted > 0 ? observe(input, wanted, passes, so_far, streams, processes) : Observed{};
    for (std::size_t i = 0; i < linears.size(); ++i) {
      auto& linear = *linears[i].linear;
      const auto linear_plan = plan.plan_for(linear.name);
      if (linears[i].input != input || !linear_plan) continue;
      linear.weight = quantize_linear(linear, *linear_plan, observed, plan.drift_correction);
      processes.broadcast(weights::tensors(linear.weight));
      running[i].linear->weight = linear.weight;
    }
  }
  return quantized;
}

}  // namespace normtweak::pipeline
