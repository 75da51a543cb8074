#include "normtweak/transform/transforms.h"

#include <algorithm>
#include <array>
#include <string>

#include "normtweak/base/error.h"
#include "normtweak/transform/awq_block.h"
#include "normtweak/transform/smoothquant.h"

namespace normtweak::transform {
namespace {

constexpr std::array kTransforms = {
    Transform{.name = "none", .description = "the weights as they are"},
    Transform{.name = "smoothquant",
              .description = "outliers of activations moved into the weights, arXiv 2211.10438",
              .option = "--smooth-alpha",
              .apply = &smoothquant},
    Transform{.name = "awq",
              .description = "channels with large activations scaled up before rounding, arXiv 2306.00978",
              .option = "--awq-clip",
              .folds_linears = true,
              .apply = &awq},
};

}  // namespace

std::span<const Transform> transforms() { return kTransforms; }

const Transform& find_transform(std::string_view name) {
  std::string known;
  for (const auto& transform : kTransforms) {
    if (transform.name == name) return transform;
    known += (known.empty() ? "" : ", ") + std::string(transform.name);
  }
  fail("'{}' is not a transform; there are {}", name, known);
}

BlockFolds planned_folds(const Transform& transform, const model::Family& family, const model::ModelConfig& config,
                         int block, const quantize::QuantizationPlan& plan) {
  if (transform.apply == nullptr) return {};
  auto found = folds_of(family, config, block, transform.folds_linears);
  const auto linears = block_parts(family, config, block).linears;
  std::erase_if(found.folds, [&](const Fold& fold) {
    return std::ranges::none_of(fold.readers, [&](std::size_t reader) {
      return !model::stays_float(linears[reader].role) && plan.plan_for(linears[reader].name).has_value();
    });
  });
  return found;
}

}  // namespace normtweak::transform
