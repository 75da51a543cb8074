#include "normtweak/pipeline/quantize_block.h"

#include <ATen/TensorOperators.h>

#include <array>
#include <optional>
#include <vector>

#include "normtweak/base/device/finite.h"
#include "normtweak/base/error.h"
#include "normtweak/model/finite_outputs.h"
#include "normtweak/quantize/drift.h"
#include "normtweak/quantize/hessian.h"

namespace normtweak::pipeline {
namespace {

// Calibration statistics of the inputs of the linears at one place.
struct Observed {
  quantize::InputHessian hessian;
  quantize::Drift drift;                                     // undefined without drift correction
  std::optional<std::array<quantize::DriftHalf, 2>> halves;  // of the text; nullopt if one is empty
};

// The number of input columns at each place where a linear needs a Hessian; 0 elsewhere.
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

// Sums over one half of the text.
struct HalfSums {
  quantize::HessianAccumulator hessian;
  quantize::DriftAccumulator drift;
};

bool adds_to_residual(model::LinearInput place) {
  return place == model::LinearInput::attention_output || place == model::LinearInput::mlp_down;
}

// Accumulates the inputs of the linears at this place, over every `step`th row of [begin, end). passes: the float
// block; so_far: the same with the linears before this place quantized.
void add_rows(HalfSums& sums, model::LinearInput place, const model::Block& passes, const model::Block& so_far,
              const BlockStreams& streams, std::int64_t begin, std::int64_t end, std::int64_t step) {
  if (begin >= end) return;
  const auto rows = [&](const at::Tensor& all) { return all.slice(0, begin, end, step); };
  const auto& weights = streams.weights[static_cast<std::size_t>(place)];
  const auto of_rows = weights.defined() ? std::optional(rows(weights)) : std::nullopt;
  const auto& context = streams.quantized.context();
  const auto found = forward_to(place, so_far, rows(streams.quantized.hidden()), context);
  sums.hessian.add(found.input, of_rows);
  if (streams.exact == nullptr) return;
  const auto wanted = forward_to(place, passes, rows(streams.exact->hidden()), context);
  sums.drift.add(wanted.input, found.input, wanted.residual, found.residual, of_rows);
}

// Combines the means of both halves.
at::Tensor mean_of(const at::Tensor& first, const at::Tensor& second, double first_share) {
  return first.defined() ? first * first_share + second * (1 - first_share) : at::Tensor();
}

// sums: of all rows, or of each half.
Observed conclude(const std::vector<HalfSums>& sums) {
  const auto &first = sums.front(), &second = sums.back();
  const double counted = first.hessian.total_weight(), others = second.hessian.total_weight();
  if (sums.size() == 1 || counted == 0 || others == 0) {
    return {.hessian = (counted > 0 ? first : second).hessian.mean(), .drift = {}, .halves = std::nullopt};
  }
  const double share = counted / (counted + others);
  Observed observed = {
      .hessian = mean_of(first.hessian.mean(), second.hessian.mean(), share), .drift = {}, .halves = std::nullopt};
  observed.halves = {
      {{first.hessian.mean(), first.drift.mean(counted)}, {second.hessian.mean(), second.drift.mean(others)}}};
  const auto &one = observed.halves->front().drift, &other = observed.halves->back().drift;
  observed.drift = {mean_of(one.inputs, other.inputs, share), mean_of(one.residual, other.residual, share)};
  return observed;
}

void check_finite(const Observed& observed, int block, at::ScalarType type) {
  for (const auto& seen : {observed.hessian.mean(), observed.drift.inputs, observed.drift.residual}) {
    if (!seen.defined() || all_finite(seen)) continue;
    fail("block {}: what its linears read is not finite; {}", block, model::about_overflow(type));
  }
}

// For drift correction, even and odd rows are kept apart. Parity counts rows of the whole text, independent of the
// number of processes.
Observed observe(model::LinearInput place, std::int64_t columns, const model::Block& passes, const model::Block& so_far,
                 const BlockStreams& streams, const Processes& processes) {
  const auto& hidden = streams.quantized.hidden();
  const bool with_drift = streams.exact != nullptr;
  const auto residual = adds_to_residual(place) ? hidden.size(-1) : 0;
  const std::int64_t halves = with_drift ? 2 : 1;
  std::vector<HalfSums> sums;
  for (std::int64_t half = 0; half < halves; ++half) {
    sums.push_back(
        {{columns, hidden.device()}, {with_drift ? columns : 0, with_drift ? residual : 0, hidden.device()}});
  }
  streams.quantized.in_parts([&](std::int64_t begin, std::int64_t count) {
    for (std::int64_t half = 0; half < halves; ++half) {
      const auto first = begin + (streams.first_row + begin + half) % halves;
      add_rows(sums[static_cast<std::size_t>(half)], place, passes, so_far, streams, first, begin + count, halves);
    }
  });
  for (auto& half : sums) {
    half.hessian.sum_over(processes);
    if (with_drift) half.drift.sum_over(processes);
  }
  auto observed = conclude(sums);
  check_finite(observed, passes.index, streams.quantized.context().type);
  return observed;
}

weights::Weight quantize_linear(const model::Linear& linear, const quantize::LinearPlan& plan, const Observed& observed,
                                double drift_share) {
  auto values = std::get<weights::FloatWeight>(linear.weight).values;
  try {
    if (observed.halves && quantize::find_quantizer(plan.method).corrects_drift) {
      const auto options = quantize::factor_options(plan);
      const auto share = drift_share * quantize::share_that_carries_over(values, *observed.halves, options);
      values = quantize::correct_drift(values, observed.hessian.factor(options), observed.drift, share);
    }
    return quantize::find_quantizer(plan.method).quantize(values, observed.hessian, plan);
  } catch (const Error& error) {
    fail("{}: {}", linear.name, error.what());
  }
}

}  // namespace

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
