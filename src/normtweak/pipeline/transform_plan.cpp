#include "normtweak/pipeline/transform_plan.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/transform/clipping.h"

namespace normtweak::pipeline {
namespace {

struct ModelFolds {
  bool any = false;
  std::vector<std::string> impossible;  // each once
};

ModelFolds folds_of(const transform::Transform& transform, const model::Checkpoint& checkpoint,
                    const quantize::QuantizationPlan& plan) {
  ModelFolds all;
  for (int block = 0; block < checkpoint.numbers.layers; ++block) {
    const auto found = planned_folds(transform, *checkpoint.family, checkpoint.numbers, block, plan);
    all.any = all.any || !found.folds.empty();
    for (const auto& line : found.impossible) {
      if (std::ranges::find(all.impossible, line) == all.impossible.end()) all.impossible.push_back(line);
    }
  }
  return all;
}

void check_clipping(const QuantizeOptions& options, const std::vector<PlannedLinear>& linears) {
  if (!options.named.contains("--awq-clip")) return;
  const bool any = std::ranges::any_of(linears, [](const PlannedLinear& linear) {
    return linear.plan && transform::clips(linear.shape.role, *linear.plan);
  });
  if (!any) fail_usage("--awq-clip: has no effect, since no linear has groups whose range is not searched already");
}

}  // namespace

std::vector<std::string> check_transform(const QuantizeOptions& options, const model::Checkpoint& checkpoint,
                                         const quantize::QuantizationPlan& plan,
                                         const std::vector<PlannedLinear>& linears, ProgressSink& progress) {
  const auto& transform = transform::find_transform(options.transform.name);
  if (transform.apply == nullptr) return {};
  const auto [any, impossible] = folds_of(transform, checkpoint, plan);
  const auto family = checkpoint.family->name;
  if (!any && impossible.empty()) {
    fail("--transform {}: has no effect, since rules skip every linear that it is for; leave it out", transform.name);
  }
  if (!any) {
    fail("--transform {}: this model of the family {} has nothing to fold ({}); leave it out", transform.name, family,
         fmt::join(impossible, "; "));
  }
  for (const auto& line : impossible) {
    progress.note(
        fmt::format("--transform {}: leaves out, in this model of the family {}, {}", transform.name, family, line));
  }
  check_clipping(options, linears);
  return impossible;
}

}  // namespace normtweak::pipeline
