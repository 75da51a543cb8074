#include "normtweak/pipeline/stored_floats.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>

#include <set>

#include "normtweak/base/device.h"
#include "normtweak/base/error.h"
#include "normtweak/base/finite.h"
#include "normtweak/model/decoder.h"

namespace normtweak::pipeline {

at::Tensor as_stored(const at::Tensor& values, at::ScalarType type, const std::string& what) {
  auto stored = values.to(type);
  if (!stored.is_floating_point() || all_finite(stored)) return stored;
  const auto lost = at::isfinite(values) & at::isfinite(stored).logical_not();
  if (!lost.any().item<bool>()) return stored;  // infinite already before the conversion
  fail("{}: {:g} is too large for {}; quantize with --store-dtype {}", what, values.index({lost})[0].item<double>(),
       float_type_name(type), type == at::kHalf ? "bf16 or f32" : "f32");
}

void check_stored_type(const model::Checkpoint& original, at::ScalarType type, const quantize::QuantizationPlan& plan) {
  std::set<std::string> quantized;
  for (int block = 0; block < original.numbers.layers; ++block) {
    for (const auto& linear : linear_shapes(original, block)) {
      if (plan.plan_for(linear.name)) quantized.insert(stored_name(original, linear.name + ".weight"));
    }
  }
  for (const auto& name : original.tensors->names()) {
    if (quantized.contains(name) || !at::isFloatingType(original.tensors->info(name).type)) continue;
    as_stored(original.tensors->read(name), type, described(*original.tensors, name));
  }
}

}  // namespace normtweak::pipeline
