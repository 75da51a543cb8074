#include "normtweak/tweak/layerwise.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "normtweak/base/error.h"
#include "normtweak/tweak/adam.h"
#include "normtweak/tweak/objectives.h"
#include "normtweak/tweak/tunables.h"

namespace normtweak::tweak {
namespace {

const std::set<TunableGroup> kNorms = {TunableGroup::norms};

// f32 [samples, tokens, hidden] → the unmasked tokens, [tokens, hidden]
at::Tensor counted_tokens(const at::Tensor& hidden, const at::Tensor& mask) {
  const auto flat = hidden.flatten(0, 1);
  return mask.defined() ? flat.index_select(0, mask.flatten().nonzero().squeeze(1)) : flat;
}

// The block with its linears dequantized once, since they are frozen and used in every step.
model::Block with_float_linears(const model::Block& block, at::ScalarType type) {
  auto frozen = block;
  for (auto& part : frozen.linears) {
    part.linear.weight = weights::FloatWeight{model::values(part.linear.weight, type)};
  }
  return frozen;
}

// The loop of Algorithm 1, for any part of the model with norms: `run` maps inputs to outputs.
template <class Part>
class NormTweak {
 public:
  using Run = std::function<at::Tensor(const Part&, const at::Tensor& inputs)>;

  NormTweak(const Part& part, at::ScalarType stored, const LayerwiseOptions& options, Run run)
      : part_(part), set_(tunable_fields(part, kNorms, stored)), options_(options), run_(std::move(run)) {}

  // The part with its current norms.
  Part finished() const { return with_values(part_, kNorms, set_, 0, /*frozen=*/true); }

  void train(const at::Tensor& inputs, const at::Tensor& targets, const at::Tensor& mask, double rate,
             LayerwiseReport* report) {
    const at::AutoGradMode with_gradients(true);
    if (report != nullptr) report->loss_before = mean_loss(inputs, targets, mask);
    Adam adam(set_, std::vector<double>(set_.groups().size(), rate), {});
    for (std::int64_t pass = 0; pass < options_.passes; ++pass) {
      for (std::int64_t begin = 0; begin < inputs.size(0); begin += options_.rows_per_step) {
        loss(inputs, targets, mask, begin).backward();
        if (!set_.finite_gradients()) fail("a gradient of the tweak is not finite");
        adam.step();
      }
    }
    if (report != nullptr) report->loss_after = mean_loss(inputs, targets, mask);
  }

 private:
  at::Tensor loss(const at::Tensor& inputs, const at::Tensor& targets, const at::Tensor& mask, std::int64_t begin) {
    const auto count = std::min(options_.rows_per_step, inputs.size(0) - begin);
    const auto part_of = [&](const at::Tensor& all) { return all.defined() ? all.narrow(0, begin, count) : all; };
    const auto outputs = run_(with_values(part_, kNorms, set_, 0, /*frozen=*/false), part_of(inputs));
    const auto value =
        find_objective(options_.loss)
            .loss(counted_tokens(outputs, part_of(mask)), counted_tokens(part_of(targets), part_of(mask)));
    if (!std::isfinite(value.template item<double>())) fail("the loss of the tweak is not finite");
    return value;
  }

  // Over the first few samples, so that the report costs little compared with the tweak.
  double mean_loss(const at::Tensor& inputs, const at::Tensor& targets, const at::Tensor& mask) {
    const c10::NoGradGuard no_gradients;
    double sum = 0;
    std::int64_t steps = 0;
    const auto rows = std::min<std::int64_t>(inputs.size(0), 4);
    for (std::int64_t begin = 0; begin < rows; begin += options_.rows_per_step, ++steps) {
      sum += loss(inputs, targets, mask, begin).template item<double>();
    }
    return sum / static_cast<double>(steps);
  }

  Part part_;
  TunableSet set_;
  const LayerwiseOptions& options_;
  Run run_;
};

// lr_i = lr0 (1 + scale i / L)
double rate_of(const LayerwiseOptions& options, int index, int layers) {
  return options.rate * (1 + options.rate_growth * index / layers);
}

}  // namespace

model::Block tweak_block(const model::Block& block, const model::BlockContext& context, int layers,
                         const at::Tensor& inputs, const at::Tensor& targets, const at::Tensor& mask,
                         const LayerwiseOptions& options, at::ScalarType stored, LayerwiseReport* report) {
  NormTweak<model::Block> tweak(
      with_float_linears(block, context.type), stored, options,
      [&](const model::Block& part, const at::Tensor& part_inputs) { return forward(part, part_inputs, context); });
  tweak.train(inputs, targets, mask, rate_of(options, block.index, layers), report);
  auto tweaked = block;
  tweaked.norms = tweak.finished().norms;
  return tweaked;
}

model::Norm tweak_final_norm(const model::Norm& norm, int layers, const at::Tensor& inputs, const at::Tensor& targets,
                             const at::Tensor& mask, const LayerwiseOptions& options, at::ScalarType stored,
                             LayerwiseReport* report) {
  NormTweak<model::Norm> tweak(norm, stored, options, [](const model::Norm& part, const at::Tensor& part_inputs) {
    return forward(part, part_inputs, at::kFloat);
  });
  tweak.train(inputs, targets, mask, rate_of(options, layers, layers), report);
  return tweak.finished();
}

}  // namespace normtweak::tweak
