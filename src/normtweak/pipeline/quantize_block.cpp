#include "normtweak/pipeline/quantize_block.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/eye.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <vector>

#include "normtweak/base/device/finite.h"
#include "normtweak/base/error.h"
#include "normtweak/model/finite_outputs.h"
#include "normtweak/pipeline/input_quantizers.h"
#include "normtweak/pipeline/place_inputs.h"
#include "normtweak/quantize/drift.h"
#include "normtweak/quantize/hessian.h"
#include "normtweak/transform/block_transform.h"

namespace normtweak::pipeline {
namespace {

// Calibration statistics of the inputs of the linears at one place.
struct Observed {
  quantize::InputHessian hessian;
  // Of the text; nullopt without drift correction, or if one is empty.
  std::optional<std::array<quantize::DriftHalf, 2>> halves = {};
  bool few_tokens = false;  // too few to tell; of an expert
};

using transform::plan_of;

// The input columns of the places of a kind where a linear needs a Hessian.
using Columns = std::map<model::Place, std::int64_t>;

Columns wanted_columns(const model::Block& block, model::PlaceKind kind, const quantize::QuantizationPlan& plan) {
  Columns columns;
  for (const auto& part : block.linears) {
    const auto linear_plan = part.place().kind == kind ? plan_of(part, plan) : std::nullopt;
    if (linear_plan && quantize::needs_hessian(*linear_plan)) {
      columns[part.place()] = weights::shape(part.linear.weight)[1];
    }
  }
  return columns;
}

// Sums over one half of the text.
struct HalfSums {
  quantize::HessianAccumulator hessian;
  quantize::DriftAccumulator drift;
};

// The weight of the only linear at a place, if it has fewer outputs than inputs: then its drift is summed in the
// outputs.
at::Tensor narrowing_weight(const model::Block& block, const model::Place& place) {
  const model::Linear* only = nullptr;
  for (const auto& part : block.linears) {
    if (part.place() != place) continue;
    if (only != nullptr) return {};
    only = &part.linear;
  }
  if (only == nullptr) return {};
  const auto& values = std::get<weights::FloatWeight>(only->weight).values;
  return values.size(0) < values.size(1) ? values : at::Tensor();
}

// Where passes through the two streams have got to.
struct Reached {
  ReachedPlaces quantized, exact;
  bool exact_finishes = false;  // the passes of the float block go to its end
};

// The inputs at the places of a kind, for rows of a stream whose first is given. output: as for inputs_at().
std::map<model::Place, model::Seen> pass_on(model::PlaceKind kind, const model::Block& block, const at::Tensor& hidden,
                                            const model::BlockContext& context, std::int64_t first_row, bool keeps,
                                            ReachedPlaces& reached, at::Tensor* output) {
  const auto last = reached.find(first_row);
  auto found = inputs_at(kind, block, hidden, context, last == reached.end() ? nullptr : &last->second, output);
  const auto whole = found.find({.kind = kind});         // not there if all inputs are experts'
  if (kind == model::PlaceKind::mlp_down) return found;  // its input is wide, and little is left behind it
  if (keeps && whole != found.end()) {
    reached[first_row] = {.place = whole->first, .input = whole->second.input, .stream = whole->second.stream};
  } else {
    reached.erase(first_row);
  }
  return found;
}

// Accumulates the inputs of the linears at these places, over every `step`th row of [begin, end). passes: the float
// block; so_far: the same with the linears before these places quantized. An input that is rounded counts as the linear
// will see it, rounded: its weight is to do well on these values, and what rounding took from the float model's input
// is drift like any other.
void add_rows(std::map<model::Place, HalfSums>& sums, model::PlaceKind kind, const model::Block& passes,
              const model::Block& so_far, const BlockStreams& streams, const InputQuantizers& rounding,
              Reached& reached, std::int64_t begin, std::int64_t end, std::int64_t step) {
  if (begin >= end) return;
  const auto& weights = streams.weights[static_cast<std::size_t>(kind)];
  const auto inputs = [&](const Stream& stream, const model::Block& block, ReachedPlaces& so_far_reached,
                          at::Tensor* output) {
    return pass_on(kind, block, stream.rows(begin, end, step), streams.quantized.context(), begin, streams.keeps_places,
                   so_far_reached, output);
  };
  const auto found = inputs(streams.quantized, so_far, reached.quantized, nullptr);
  std::map<model::Place, model::Seen> wanted;
  if (streams.exact != nullptr) {
    at::Tensor output;
    wanted = inputs(*streams.exact, passes, reached.exact, reached.exact_finishes ? &output : nullptr);
    if (reached.exact_finishes) streams.exact->put_rows(begin, end, step, output);
    if (kind == model::PlaceKind::mlp_down) reached.exact.erase(begin);
  }
  for (auto& [place, sum] : sums) {
    const auto seen = found.find(place);
    if (seen == found.end()) continue;  // no token reached this expert
    const auto rounds = rounding.find(place);
    const auto input =
        rounds == rounding.end() ? seen->second.input : weights::round_activations(rounds->second, seen->second.input);
    const auto of_rows = weights_at(seen->second, weights.defined() ? weights.slice(0, begin, end, step) : weights);
    sum.hessian.add(input, of_rows);
    // The float model may send other tokens to an expert, so that there is nothing to compare.
    if (streams.exact == nullptr || place.expert >= 0) continue;
    const auto& exact = wanted.at(place);
    sum.drift.add(exact.input, input, exact.residual, seen->second.residual, of_rows);
  }
}

// sums: of all rows, or of each half.
Observed conclude(const std::vector<HalfSums*>& sums) {
  const auto &first = *sums.front(), &second = *sums.back();
  const double counted = first.hessian.total_weight(), others = second.hessian.total_weight();
  if (sums.size() == 1 || counted == 0 || others == 0) {
    return {.hessian = (counted > 0 ? first : second).hessian.mean(), .halves = std::nullopt};
  }
  const double share = counted / (counted + others);
  const auto mean = first.hessian.mean(), other_mean = second.hessian.mean();
  Observed observed = {.hessian = mean * share + other_mean * (1 - share), .halves = std::nullopt};
  observed.halves = {
      {{mean, first.drift.mean(mean, counted), share}, {other_mean, second.drift.mean(other_mean, others), 1 - share}}};
  return observed;
}

// An expert that few tokens reached is quantized as if all its inputs were alike: for one Hessian, the identity, every
// method rounds each weight for itself.
Observed conclude_expert(const std::vector<HalfSums*>& sums, std::int64_t in) {
  constexpr double kFewTokens = 32;
  double counted = 0;
  for (const auto* half : sums) counted += half->hessian.total_weight();
  const auto& first = sums.front()->hessian;
  if (counted < kFewTokens) return {.hessian = at::eye(in, first.options()), .few_tokens = true};
  at::Tensor mean;
  for (const auto* half : sums) {
    const auto own = half->hessian.total_weight();
    if (own == 0) continue;
    const auto part = half->hessian.mean() * (own / counted);
    mean = mean.defined() ? mean + part : part;
  }
  return {.hessian = mean};
}

void check_finite(const Observed& observed, int block, at::ScalarType type) {
  std::vector<at::Tensor> all = {observed.hessian.mean()};
  for (std::size_t half = 0; observed.halves && half < 2; ++half) {
    const auto& drift = observed.halves->at(half).drift;
    all.insert(all.end(), {drift.inputs, drift.residual, drift.change});
  }
  for (const auto& seen : all) {
    if (!seen.defined() || all_finite(seen)) continue;
    fail("block {}: what its linears read is not finite; {}", block, model::about_overflow(type));
  }
}

// Calls work(half, first row, end, step) for the rows of each part of the text. For drift correction, even and odd rows
// are kept apart. Parity counts rows of the whole text, independent of the number of processes.
template <class Work>
void in_halves(const BlockStreams& streams, const Work& work) {
  const std::int64_t halves = streams.exact != nullptr ? 2 : 1;
  streams.quantized.in_parts([&](std::int64_t begin, std::int64_t count) {
    for (std::int64_t half = 0; half < halves; ++half) {
      work(static_cast<std::size_t>(half), begin + (streams.first_row + begin + half) % halves, begin + count, halves);
    }
  });
}

std::map<model::Place, Observed> observe(model::PlaceKind kind, const Columns& columns, const model::Block& passes,
                                         const model::Block& so_far, const BlockStreams& streams,
                                         const InputQuantizers& rounding, Reached& reached,
                                         const Processes& processes) {
  if (columns.empty()) return {};
  const auto& hidden = streams.quantized.hidden();
  const auto& context = streams.quantized.context();
  const bool with_drift = streams.exact != nullptr;
  const std::int64_t halves = with_drift ? 2 : 1;
  std::vector<std::map<model::Place, HalfSums>> sums(static_cast<std::size_t>(halves));
  for (auto& half : sums) {
    for (const auto& [place, in] : columns) {
      const bool drifts = with_drift && place.expert < 0;
      const auto residual = drifts && adds_to_stream(place, context.config->topology) ? hidden.size(-1) : 0;
      const auto weight = residual > 0 ? narrowing_weight(passes, place) : at::Tensor();
      half.emplace(place, HalfSums{{in, hidden.device()}, {drifts ? in : 0, residual, hidden.device(), weight}});
    }
  }
  reached.exact_finishes =
      with_drift && streams.keeps_places && streams.final_norms && kind == model::PlaceKind::mlp_down;
  in_halves(streams, [&](std::size_t half, std::int64_t first, std::int64_t end, std::int64_t step) {
    add_rows(sums[half], kind, passes, so_far, streams, rounding, reached, first, end, step);
  });
  std::map<model::Place, Observed> all;
  for (const auto& [place, in] : columns) {
    std::vector<HalfSums*> of_place;
    for (auto& half : sums) of_place.push_back(&half.at(place));
    for (auto* half : of_place) {
      half->hessian.sum_over(processes);
      if (with_drift && place.expert < 0) half->drift.sum_over(processes);
    }
    auto observed = place.expert < 0 ? conclude(of_place) : conclude_expert(of_place, in);
    check_finite(observed, passes.index, context.type);
    all.emplace(place, std::move(observed));
  }
  return all;
}

weights::Weight quantize_linear(const model::Linear& linear, const quantize::LinearPlan& plan, const Observed& observed,
                                double drift_share) {
  auto values = std::get<weights::FloatWeight>(linear.weight).values;
  try {
    if (observed.halves && quantize::feeds_back(plan)) {
      values = quantize::correct_drift(values, observed.hessian, *observed.halves, quantize::factor_options(plan),
                                       drift_share);
    }
    return quantize::find_quantizer(plan.method).quantize(values, observed.hessian, plan);
  } catch (const Error& error) {
    fail("{}: {}", linear.name, error.what());
  }
}

// The plans of the block's linears whose method learns the rounding.
std::vector<std::optional<quantize::LinearPlan>> learned_roundings(const model::Block& block,
                                                                   const quantize::QuantizationPlan& plan) {
  std::vector<std::optional<quantize::LinearPlan>> learned;
  for (const auto& part : block.linears) {
    auto found = plan_of(part, plan);
    if (found && !quantize::find_quantizer(found->method).learns_rounding) found.reset();
    learned.push_back(std::move(found));
  }
  return learned;
}

// Replaces the weights of `quantized`, which were rounded to nearest. rounded: the same block in the compute dtype.
quantize::SignRoundReport learn_rounding(model::Block& quantized, const model::Block& passes,
                                         const model::Block& rounded, const model::Block& exact,
                                         const std::vector<std::optional<quantize::LinearPlan>>& plans,
                                         const BlockStreams& streams, const Processes& processes) {
  const auto& stream = streams.quantized;
  const quantize::BlockText text = {.inputs = stream.hidden(),
                                    .targets = stream.through(passes),
                                    .weights = streams.weights[static_cast<std::size_t>(model::PlaceKind::mlp_down)],
                                    .rows_at_a_time = stream.rows_with_gradients()};
  quantize::SignRoundReport report;
  try {
    const auto learned = sign_round(exact, rounded, plans, text, stream.context(), processes, &report);
    for (std::size_t part = 0; part < plans.size(); ++part) {
      if (!plans[part]) continue;
      auto& weight = quantized.linears[part].linear.weight;
      weight = learned.linears[part].linear.weight;
      processes.broadcast(weights::tensors(weight));
    }
  } catch (const LostProcess&) {
    throw;
  } catch (const Error& error) {
    fail("block {}: {}", exact.index, error.what());
  }
  return report;
}

// Linears that stay float are rounded to the dtype in which they are stored, which the passes have not seen.
bool is_final_before_mlp(const model::Block& quantized) {
  return std::ranges::all_of(quantized.linears, [](const auto& part) {
    return part.place().kind >= model::PlaceKind::mlp || weights::is_quantized(part.linear.weight);
  });
}

}  // namespace

void ScarceExperts::add(const ScarceExperts& others) {
  const auto append = [](std::vector<std::string>& names, const std::vector<std::string>& more) {
    names.insert(names.end(), more.begin(), more.end());
  };
  append(without_hessian, others.without_hessian);
  append(without_range, others.without_range);
}

model::Block quantize_block(const model::Block& passes, const model::Block& exact, const BlockStreams& streams,
                            const quantize::QuantizationPlan& plan, const Processes& processes,
                            BlockFindings& findings) {
  static const Observed nothing = {};
  auto quantized = exact, so_far = passes;
  Reached reached;
  for (std::size_t i = 0; i < model::kPlaceKinds; ++i) {
    const auto kind = static_cast<model::PlaceKind>(i);
    const auto rounding = input_quantizers(kind, so_far, streams, plan, processes, findings.scarce.without_range);
    const auto observed =
        observe(kind, wanted_columns(passes, kind, plan), passes, so_far, streams, rounding, reached, processes);
    for (std::size_t part = 0; part < quantized.linears.size(); ++part) {
      auto& [role, expert, linear] = quantized.linears[part];
      const auto linear_plan = plan_of(quantized.linears[part], plan);
      if (place_of(role, expert).kind != kind || !linear_plan) continue;
      const auto found = observed.find(place_of(role, expert));
      const auto& seen = found == observed.end() ? nothing : found->second;  // the next linear takes its factors
      if (seen.few_tokens) findings.scarce.without_hessian.push_back(linear.name);
      linear.weight = quantize_linear(linear, *linear_plan, seen, plan.drift_correction);
      processes.broadcast(weights::tensors(linear.weight));
      if (const auto rounds = rounding.find(place_of(role, expert)); rounds != rounding.end()) {
        linear.input_quantizer = rounds->second;
      }
      so_far.linears[part].linear.weight = linear.weight;
      so_far.linears[part].linear.input_quantizer = linear.input_quantizer;
    }
  }
  findings.exact_is_through = reached.exact_finishes;
  const auto learned = learned_roundings(quantized, plan);
  if (std::ranges::none_of(learned, &std::optional<quantize::LinearPlan>::has_value)) {
    if (streams.final_norms && is_final_before_mlp(quantized)) findings.reached = std::move(reached.quantized);
    return quantized;
  }
  const auto report = learn_rounding(quantized, passes, so_far, exact, learned, streams, processes);
  findings.rounding = report;
  return quantized;
}

void pass_to_end(const model::Block& quantized, const BlockStreams& streams, ReachedPlaces reached) {
  auto& stream = streams.quantized;
  if (reached.empty()) return stream.advance(quantized);
  auto context = stream.context();
  in_halves(streams, [&](std::size_t, std::int64_t first, std::int64_t end, std::int64_t step) {
    if (first >= end) return;
    const auto from = reached.find(first);
    context.from = from == reached.end() ? nullptr : &from->second;
    stream.put_rows(first, end, step, forward(quantized, stream.rows(first, end, step), context));
    if (from != reached.end()) reached.erase(from);
  });
}

}  // namespace normtweak::pipeline
