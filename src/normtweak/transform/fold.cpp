#include "normtweak/transform/fold.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/where.h>

namespace normtweak::transform {
namespace {

at::Tensor& values_of(model::Linear& linear) { return std::get<weights::FloatWeight>(linear.weight).values; }

at::Tensor divide(model::Norm& norm, const at::Tensor& scales, at::ScalarType stored) {
  const auto as_stored = [&](const at::Tensor& values) { return values.to(stored).to(at::kFloat); };
  const auto before = norm.weight + norm.shift;
  norm.weight = as_stored(before / scales - norm.shift);
  const auto after = norm.weight + norm.shift;
  const auto exact = at::where((before != 0) & (after != 0), before / after, scales);
  if (norm.bias.defined()) norm.bias = as_stored(norm.bias / exact);
  return exact;
}

void divide_rows(model::Linear& linear, const at::Tensor& scales, const at::Tensor& rows) {
  auto& values = values_of(linear);
  auto divisors = scales;
  if (rows.defined()) {
    divisors = at::ones({values.size(0)}, scales.options()).index_copy_(0, rows.to(scales.device()), scales);
  }
  values = values / divisors.unsqueeze(1).to(values.scalar_type());
  if (linear.bias.defined()) linear.bias = linear.bias / divisors;
  linear.changed = true;
}

}  // namespace

at::Tensor divide_feeder(const Fold& fold, const at::Tensor& scales, const model::ModelConfig& config,
                         at::ScalarType stored, model::Block& block) {
  if (fold.kind == FoldKind::norm) return divide(*find(block, fold.norm), scales, stored);
  auto& [role, expert, linear] = block.linears[fold.feeder];
  divide_rows(linear, scales, feeding_rows(role, config, values_of(linear).size(0)));
  return scales;
}

void multiply_columns(const at::Tensor& scales, model::Linear& linear) {
  auto& values = values_of(linear);
  values = values * scales.to(values.scalar_type());
  linear.changed = true;
}

void apply(const Fold& fold, const at::Tensor& scales, const model::ModelConfig& config, at::ScalarType stored,
           model::Block& block) {
  const auto factors = divide_feeder(fold, scales, config, stored, block);
  for (const auto reader : fold.readers) multiply_columns(factors, block.linears[reader].linear);
}

}  // namespace normtweak::transform
