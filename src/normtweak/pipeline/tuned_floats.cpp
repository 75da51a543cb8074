#include "normtweak/pipeline/tuned_floats.h"

#include <c10/util/accumulate.h>

#include <optional>
#include <string>
#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/model/decoder.h"
#include "normtweak/quantize/quantizers.h"

namespace normtweak::pipeline {
namespace {

using tweak::TunableGroup;

// Of one linear: the floats stored besides its codes.
struct Floats {
  std::int64_t scales = 0, zeros = 0, codebooks = 0;
};

Floats floats_of(weights::Weight weight) {
  Floats found;
  for (const auto& floats : weights::code_floats(weight)) {
    using Kind = weights::CodeFloats::Kind;
    auto& count = floats.kind == Kind::scales  ? found.scales
                  : floats.kind == Kind::zeros ? found.zeros
                                               : found.codebooks;
    count += floats.values->numel();
  }
  return found;
}

Floats floats_of(const model::LinearShape& linear, const std::optional<quantize::LinearPlan>& plan) {
  if (!plan) return {};
  return floats_of(outline(linear, *plan));
}

Floats floats_of(const model::LinearShape& linear, const model::Checkpoint& quantized) {
  const auto coded = coded_outline(quantized, linear);
  return coded ? floats_of(*coded) : Floats();
}

class Counts {
 public:
  explicit Counts(const model::Checkpoint& checkpoint) {
    const auto& numbers = checkpoint.numbers;
    const auto& family = *checkpoint.family;
    for (int block = 0; block < numbers.layers; ++block) {
      const auto& facts = numbers.layer_facts[static_cast<std::size_t>(block)];
      for (const auto& norm : block_parts(family, numbers, block).norms) add_norm(norm, facts, checkpoint);
    }
    if (numbers.final_norm) add_norm(final_norm_shape(family, numbers), {}, checkpoint);
  }

  void add(const model::LinearShape& linear, const Floats& floats) {
    add(TunableGroup::biases, linear.has_bias ? linear.out : 0);
    add(TunableGroup::scales, floats.scales);
    add(TunableGroup::zeros, floats.zeros);
    add(TunableGroup::codebooks, floats.codebooks);
  }

  TunableCounts take() { return std::move(counts_); }

 private:
  void add_norm(const model::NormShape& norm, const model::LayerFacts& facts, const model::Checkpoint& checkpoint) {
    std::int64_t floats = norm.has_bias ? 2 : 1;
    for (const auto size : norm.dimensions) floats *= size_of(size, checkpoint.numbers);
    add(tweak::group_of(norm.role, facts), floats);
  }

  void add(TunableGroup group, std::int64_t count) {
    if (count > 0) counts_[group] += count;
  }

  TunableCounts counts_;
};

std::string names_of(const auto& groups, const auto& group_of) {
  std::string names;
  for (const auto& entry : groups) {
    names += names.empty() ? "" : ", ";
    names += tweak::group_name(group_of(entry));
  }
  return names;
}

}  // namespace

TunableCounts tunable_floats(const model::Checkpoint& floats, const std::vector<PlannedLinear>& linears) {
  Counts counts(floats);
  for (const auto& linear : linears) counts.add(linear.shape, floats_of(linear.shape, linear.plan));
  return counts.take();
}

TunableCounts tunable_floats(const model::Checkpoint& quantized) {
  Counts counts(quantized);
  for (int block = 0; block < quantized.numbers.layers; ++block) {
    for (const auto& linear : linear_shapes(quantized, block)) counts.add(linear, floats_of(linear, quantized));
  }
  return counts.take();
}

std::int64_t tuned_floats(const TunableCounts& counts, const TweakOptions& tweak) {
  if (tweak.method != TweakMethod::end_to_end) return 0;
  std::int64_t sum = 0;
  for (const auto& [group, count] : counts) sum += tweak.end_to_end.groups.contains(group) ? count : 0;
  return sum;
}

void check_tuned_groups(const TunableCounts& counts, const TweakOptions& tweak, ProgressSink& progress) {
  if (tweak.method != TweakMethod::end_to_end) return;
  const auto& wanted = tweak.end_to_end.groups;
  const auto found = names_of(counts, [](const auto& entry) { return entry.first; });
  if (tuned_floats(counts, tweak) == 0) {
    fail("--tune {}: the quantized model has no such floats; it has {}{}",
         names_of(wanted, [](TunableGroup group) { return group; }), found,
         wanted.contains(TunableGroup::zeros) ? "; zero-points are floats only with --float-zeros" : "");
  }
  if (!tweak.groups_named) return;
  // Either of scales and codebooks stands for both.
  const bool has_sizes = counts.contains(TunableGroup::scales) || counts.contains(TunableGroup::codebooks);
  for (const auto group : wanted) {
    const bool is_size = group == TunableGroup::scales || group == TunableGroup::codebooks;
    if (counts.contains(group) || (is_size && (has_sizes || group == TunableGroup::codebooks))) continue;
    progress.note(fmt::format("--tune {}: the quantized model has none; it has {}", tweak::group_name(group), found));
  }
}

}  // namespace normtweak::pipeline
