#include "normtweak/pipeline/tuned_floats.h"

#include <c10/util/accumulate.h>

#include <functional>

#include "normtweak/model/decoder.h"
#include "normtweak/quantize/quantizers.h"

namespace normtweak::pipeline {
namespace {

using tweak::TunableGroup;

// Of one linear: the floats stored besides its codes.
struct Floats {
  std::int64_t scales = 0, zeros = 0, codebooks = 0;
};

Floats floats_of(const model::LinearShape& linear, const quantize::LinearPlan& plan) {
  if (!quantize::find_quantizer(plan.method).uses_groups) return {.codebooks = linear.out << plan.bits};
  const auto scales = linear.out * (plan.group_size > 0 ? linear.in / plan.group_size : 1);
  return {.scales = scales, .zeros = plan.float_zeros ? scales : 0};
}

Floats floats_of(const model::LinearShape& linear, const model::Checkpoint& quantized) {
  const auto count = [&](const char* part) {
    const auto name = stored_name(quantized, linear.name + part);
    if (!quantized.tensors->contains(name)) return std::int64_t{0};
    const auto info = quantized.tensors->info(name);
    return c10::isFloatingType(info.type) ? c10::multiply_integers(info.shape) : 0;  // integer zero-points stay
  };
  return {
      .scales = count(".weight_scale"), .zeros = count(".weight_zero_point"), .codebooks = count(".weight_codebook")};
}

std::int64_t sum_up(const model::Checkpoint& checkpoint, const TweakOptions& tweak,
                    const std::function<Floats(const model::LinearShape&)>& floats_of_linear) {
  if (tweak.method != TweakMethod::end_to_end) return 0;
  const auto& numbers = checkpoint.numbers;
  const auto counted = [&](TunableGroup group, std::int64_t count) {
    return tweak.end_to_end.groups.contains(group) ? count : 0;
  };
  const auto norm = numbers.hidden * (checkpoint.family->norm == model::NormKind::layer ? 2 : 1);
  auto sum = counted(TunableGroup::norms, norm * (2 * numbers.layers + 1));
  for (int block = 0; block < numbers.layers; ++block) {
    for (const auto& linear : linear_shapes(checkpoint, block)) {
      const auto floats = floats_of_linear(linear);
      sum += counted(TunableGroup::biases, linear.has_bias ? linear.out : 0) +
             counted(TunableGroup::scales, floats.scales) + counted(TunableGroup::zeros, floats.zeros) +
             counted(TunableGroup::codebooks, floats.codebooks);
    }
  }
  return sum;
}

}  // namespace

std::int64_t tuned_floats(const model::Checkpoint& floats, const quantize::QuantizationPlan& plan,
                          const TweakOptions& tweak) {
  return sum_up(floats, tweak, [&](const model::LinearShape& linear) {
    const auto linear_plan = plan.plan_for(linear.name);
    return linear_plan ? floats_of(linear, *linear_plan) : Floats{};
  });
}

std::int64_t tuned_floats(const model::Checkpoint& quantized, const TweakOptions& tweak) {
  return sum_up(quantized, tweak, [&](const model::LinearShape& linear) { return floats_of(linear, quantized); });
}

}  // namespace normtweak::pipeline
