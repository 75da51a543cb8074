#include "normtweak/transform/block_transform.h"

namespace normtweak::transform {

std::optional<quantize::LinearPlan> plan_of(const model::BlockLinear& part, const quantize::QuantizationPlan& plan) {
  return stays_float(part.role) ? std::nullopt : plan.plan_for(part.linear.name);
}

const at::Tensor& values_of(const model::BlockLinear& part) {
  return std::get<weights::FloatWeight>(part.linear.weight).values;
}

}  // namespace normtweak::transform
