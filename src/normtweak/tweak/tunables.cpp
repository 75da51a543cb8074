#include "normtweak/tweak/tunables.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/ranges.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <utility>

#include "normtweak/base/error.h"

namespace normtweak::tweak {
namespace {

constexpr std::array<std::pair<TunableGroup, std::string_view>, 5> kGroups = {{
    {TunableGroup::norms, "norms"},
    {TunableGroup::biases, "biases"},
    {TunableGroup::scales, "scales"},
    {TunableGroup::zeros, "zeros"},
    {TunableGroup::codebooks, "codebooks"},
}};

// Rounds on the way forward and lets the gradient through unchanged (arXiv 1308.3432, "straight-through").
struct RoundStraightThrough : torch::autograd::Function<RoundStraightThrough> {
  static at::Tensor forward(torch::autograd::AutogradContext*, const at::Tensor& value, at::ScalarType stored,
                            at::ScalarType loaded) {
    return value.to(stored).to(loaded).to(at::kFloat);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext*,
                                                 const torch::autograd::variable_list& gradients) {
    return {gradients[0], {}, {}};
  }
};

// What a visitor sees: the name of a float of the model, its group, and the field that holds it.
struct Field {
  std::string name;
  TunableGroup group;
  at::Tensor& values;
  at::ScalarType stored;
};
using Visitor = std::function<void(const Field&)>;

void visit(model::Norm& norm, at::ScalarType stored, const Visitor& visitor) {
  visitor({norm.name + ".weight", TunableGroup::norms, norm.weight, stored});
  if (norm.bias.defined()) visitor({norm.name + ".bias", TunableGroup::norms, norm.bias, stored});
}

void visit(model::Linear& linear, at::ScalarType stored, const Visitor& visitor) {
  if (auto* affine = std::get_if<weights::AffineWeight>(&linear.weight)) {
    visitor({linear.name + ".scales", TunableGroup::scales, affine->scales, affine->scale_type});
    if (affine->float_zeros) visitor({linear.name + ".zeros", TunableGroup::zeros, affine->zeros, affine->scale_type});
  } else if (auto* table = std::get_if<weights::CodebookWeight>(&linear.weight)) {
    visitor({linear.name + ".codebook", TunableGroup::codebooks, table->codebook, table->codebook_type});
  }
  if (linear.bias.defined()) visitor({linear.name + ".bias", TunableGroup::biases, linear.bias, stored});
}

void visit(model::Block& block, at::ScalarType stored, const Visitor& visitor) {
  visit(block.attention_norm, stored, visitor);
  visit(block.mlp_norm, stored, visitor);
  for (const auto& placed : model::linears(block)) visit(*placed.linear, stored, visitor);
}

// The step that a change of 1 stands for.
at::Tensor unit_of(TunableGroup group, const at::Tensor& start) {
  switch (group) {
    case TunableGroup::scales:
      return start;
    case TunableGroup::codebooks:
      return start.square().mean(1, /*keepdim=*/true).sqrt();  // the channel's typical weight
    case TunableGroup::norms:
    case TunableGroup::biases:
    case TunableGroup::zeros:
      break;
  }
  return at::ones({1}, start.options());
}

}  // namespace

std::string_view group_name(TunableGroup group) {
  for (const auto& [known, name] : kGroups) {
    if (known == group) return name;
  }
  return "";
}

std::set<TunableGroup> parse_groups(std::string_view list) {
  std::set<TunableGroup> groups;
  while (!list.empty()) {
    const auto comma = list.find(',');
    const auto name = list.substr(0, comma);
    list = comma == std::string_view::npos ? "" : list.substr(comma + 1);
    const auto* found = std::ranges::find(kGroups, name, &std::pair<TunableGroup, std::string_view>::second);
    if (found == kGroups.end()) fail("--tune {}: not known; known are norms, biases, scales, zeros, codebooks", name);
    groups.insert(found->first);
    if (found->first == TunableGroup::scales) groups.insert(TunableGroup::codebooks);
  }
  if (groups.empty()) fail("--tune: nothing named; name some of norms, biases, scales, zeros, codebooks");
  return groups;
}

at::Tensor Tunable::value() const {
  const auto exact = start + unit * change;
  return stored == at::kFloat && loaded == at::kFloat ? exact : RoundStraightThrough::apply(exact, stored, loaded);
}

template <class Part>
Tuned<Part>::Tuned(Part part, const std::set<TunableGroup>& groups, at::ScalarType loaded)
    : part_(std::move(part)), groups_(groups) {
  visit(part_, loaded, [&](const Field& field) {
    if (!groups_.contains(field.group)) return;
    const auto start = field.values.detach();
    tunables_.push_back({field.name, field.group, start, unit_of(field.group, start),
                         at::zeros_like(start).requires_grad_(), field.stored, loaded});
  });
}

template <class Part>
Part Tuned<Part>::part() const {
  Part changed = part_;
  std::size_t next = 0;
  visit(changed, at::kFloat, [&](const Field& field) {
    if (groups_.contains(field.group)) field.values = tunables_[next++].value();
  });
  return changed;
}

template class Tuned<model::Block>;
template class Tuned<model::Norm>;

}  // namespace normtweak::tweak
