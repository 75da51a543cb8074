#include "normtweak/pipeline/stored_floats.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <set>

#include "normtweak/base/device/device.h"
#include "normtweak/base/device/finite.h"
#include "normtweak/base/error.h"
#include "normtweak/model/decoder.h"

namespace normtweak::pipeline {
namespace {

void round_to(at::Tensor& values, at::ScalarType type) {
  if (values.defined()) values = values.to(type).to(values.scalar_type());
}

}  // namespace

at::Tensor as_stored(const at::Tensor& values, at::ScalarType type, const std::string& what) {
  if (values.scalar_type() == type) return values;
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
      if (!model::stays_float(linear.role) && plan.plan_for(linear.name))
        quantized.insert(stored_name(original, linear.name + ".weight"));
    }
  }
  for (const auto& name : original.tensors->names()) {
    const auto found = original.tensors->info(name).type;
    if (quantized.contains(name) || !at::isFloatingType(found) || found == type) continue;
    as_stored(original.tensors->read(name), type, described(*original.tensors, name));
  }
}

model::Norm with_stored_floats(model::Norm norm, at::ScalarType type) {
  round_to(norm.weight, type);
  round_to(norm.bias, type);
  return norm;
}

model::Block with_stored_norms(model::Block block, at::ScalarType type) {
  for (auto& [role, norm] : block.norms) norm = with_stored_floats(std::move(norm), type);
  for (auto& part : block.linears) round_to(part.linear.bias, type);
  return block;
}

bool keeps_norms(const model::Block& block, at::ScalarType type) {
  const auto kept = [type](const at::Tensor& values) {
    auto stored = values;
    round_to(stored, type);
    return !values.defined() || stored.equal(values);
  };
  return std::ranges::all_of(block.norms,
                             [&](const auto& part) { return kept(part.norm.weight) && kept(part.norm.bias); }) &&
         std::ranges::all_of(block.linears, [&](const auto& part) { return kept(part.linear.bias); });
}

model::Block with_stored_floats(model::Block block, at::ScalarType type) {
  block = with_stored_norms(std::move(block), type);
  for (auto& part : block.linears) {
    if (auto* left = std::get_if<weights::FloatWeight>(&part.linear.weight)) round_to(left->values, type);
  }
  return block;
}

model::Decoder with_stored_outside(model::Decoder decoder, at::ScalarType type) {
  round_to(decoder.embedding, type);
  for (auto* table : {&decoder.positions, &decoder.project_in, &decoder.project_out}) round_to(*table, type);
  decoder.embedding_norm = with_stored_floats(std::move(decoder.embedding_norm), type);
  decoder.final_norm = with_stored_floats(std::move(decoder.final_norm), type);
  if (decoder.config.tied_head) {
    decoder.head.weight = weights::FloatWeight{decoder.embedding};
  } else if (auto* head = std::get_if<weights::FloatWeight>(&decoder.head.weight)) {
    round_to(head->values, type);
  }
  round_to(decoder.head.bias, type);
  return decoder;
}

}  // namespace normtweak::pipeline
