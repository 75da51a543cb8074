#include "normtweak/pipeline/input_quantizers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/max.h>
#include <ATen/ops/min.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <optional>

#include "normtweak/base/about.h"
#include "normtweak/pipeline/place_inputs.h"
#include "normtweak/transform/block_transform.h"

namespace normtweak::pipeline {
namespace {

// A linear whose input is rounded: the first of its place, whose plan the others share in this.
struct Rounding {
  const model::BlockLinear* linear;
  weights::ActivationSettings settings;
  at::ScalarType scale_type;
};

std::map<model::Place, Rounding> roundings(model::PlaceKind kind, const model::Block& block,
                                           const quantize::QuantizationPlan& plan) {
  std::map<model::Place, Rounding> found;
  for (const auto& part : block.linears) {
    if (part.place().kind != kind) continue;
    const auto own = transform::plan_of(part, plan);
    const auto settings = own ? activation_settings(*own) : std::nullopt;
    if (settings) found.try_emplace(part.place(), Rounding{&part, *settings, own->scale_type});
  }
  return found;
}

// The least and the largest value so far, with 0, and how many tokens there were. On the device, so that it does not
// wait for them.
class RangeAccumulator {
 public:
  explicit RangeAccumulator(c10::Device device) : least_(at::zeros({}, at::TensorOptions(at::kFloat).device(device))) {
    largest_ = least_.clone();
    tokens_ = least_.clone();
  }

  // weights: of the tokens; those of weight 0 (padding) may hold any values.
  void add(const at::Tensor& input, const std::optional<at::Tensor>& weights) {
    auto values = input.to(at::kFloat);
    if (weights) values = at::where((weights->to(values.device()) > 0).unsqueeze(-1), values, 0.0);
    if (values.numel() == 0) return;
    least_ = at::min(least_, values.min());
    largest_ = at::max(largest_, values.max());
    tokens_ += static_cast<double>(values.numel() / values.size(-1));
  }

  at::Tensor row() const { return at::stack({least_, largest_, tokens_}); }

 private:
  at::Tensor least_, largest_, tokens_;
};

struct Range {
  float least = 0, largest = 0;
  bool is_reached = false;
};

Range over_all(const std::vector<Range>& ranges) {
  Range all;
  for (const auto& range : ranges) {
    all.least = std::min(all.least, range.least);
    all.largest = std::max(all.largest, range.largest);
    all.is_reached |= range.is_reached;
  }
  return all;
}

std::map<model::Place, Range> observed_ranges(model::PlaceKind kind, const std::map<model::Place, Rounding>& wanted,
                                              const model::Block& so_far, const BlockStreams& streams,
                                              const Processes& processes) {
  std::map<model::Place, RangeAccumulator> sums;
  for (const auto& [place, rounding] : wanted) {
    if (!rounding.settings.dynamic) sums.try_emplace(place, streams.quantized.hidden().device());
  }
  if (sums.empty()) return {};
  const auto& weights = streams.weights[static_cast<std::size_t>(kind)];
  streams.quantized.in_parts([&](std::int64_t begin, std::int64_t count) {
    const auto of_rows = weights.defined() ? weights.narrow(0, begin, count) : at::Tensor();
    const auto hidden = streams.quantized.hidden().narrow(0, begin, count);
    for (const auto& [place, seen] : inputs_at(kind, so_far, hidden, streams.quantized.context())) {
      if (const auto sum = sums.find(place); sum != sums.end()) sum->second.add(seen.input, weights_at(seen, of_rows));
    }
  });
  std::map<model::Place, Range> ranges;
  for (const auto& [place, sum] : sums) {
    const auto rows = processes.gather_rows(sum.row().unsqueeze(0)).cpu();
    std::vector<Range> of_processes;
    for (std::int64_t i = 0; i < rows.size(0); ++i) {
      of_processes.push_back({rows[i][0].item<float>(), rows[i][1].item<float>(), rows[i][2].item<float>() > 0});
    }
    ranges.emplace(place, over_all(of_processes));
  }
  return ranges;
}

}  // namespace

InputQuantizers input_quantizers(model::PlaceKind kind, const model::Block& so_far, const BlockStreams& streams,
                                 const quantize::QuantizationPlan& plan, const Processes& processes,
                                 std::vector<std::string>& without_range) {
  const auto wanted = roundings(kind, so_far, plan);
  const auto ranges = observed_ranges(kind, wanted, so_far, streams, processes);
  std::vector<Range> all;
  for (const auto& [place, range] : ranges) all.push_back(range);
  InputQuantizers quantizers;
  for (const auto& [place, rounding] : wanted) {
    const auto& [part, settings, scale_type] = rounding;
    if (settings.dynamic) {
      quantizers.emplace(place, weights::ActivationQuantizer{.settings = settings});
      continue;
    }
    auto range = ranges.at(place);
    if (!range.is_reached) {
      without_range.push_back(part->linear.name);
      range = over_all(all);
    }
    quantizers.emplace(place, about(part->linear.name, [&, &settings = settings, &type = scale_type] {
                         return weights::with_range(settings, range.least, range.largest, type);
                       }));
  }
  return quantizers;
}

}  // namespace normtweak::pipeline
