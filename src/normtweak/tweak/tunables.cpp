#include "normtweak/tweak/tunables.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "normtweak/base/device/finite.h"
#include "normtweak/base/error.h"

namespace normtweak::tweak {
namespace {

constexpr std::array<std::pair<TunableGroup, std::string_view>, 6> kGroups = {{
    {TunableGroup::norms, "norms"},
    {TunableGroup::router_norms, "router-norms"},
    {TunableGroup::biases, "biases"},
    {TunableGroup::scales, "scales"},
    {TunableGroup::zeros, "zeros"},
    {TunableGroup::codebooks, "codebooks"},
}};

// Passed to a visitor: the name of a float tensor, its group, and the field that holds it.
struct Field {
  std::string name;
  TunableGroup group;
  at::Tensor& values;
  at::ScalarType stored;
  bool converts_on_load = true;
};
using Visitor = std::function<void(const Field&)>;

void visit(model::Norm& norm, TunableGroup group, at::ScalarType stored, const Visitor& visitor) {
  if (!norm.weight.defined()) return;
  stored = norm.stored_type.value_or(stored);
  visitor({norm.name + ".weight", group, norm.weight, stored});
  if (norm.bias.defined()) visitor({norm.name + ".bias", group, norm.bias, stored});
}

void visit(model::Norm& norm, at::ScalarType stored, const Visitor& visitor) {
  visit(norm, TunableGroup::norms, stored, visitor);
}

TunableGroup group_of_floats(weights::CodeFloats::Kind kind) {
  switch (kind) {
    case weights::CodeFloats::Kind::scales:
      return TunableGroup::scales;
    case weights::CodeFloats::Kind::zeros:
      return TunableGroup::zeros;
    case weights::CodeFloats::Kind::codebook:
      return TunableGroup::codebooks;
  }
  return TunableGroup::scales;
}

void visit(model::Linear& linear, at::ScalarType stored, const Visitor& visitor) {
  for (const auto& floats : weights::code_floats(linear.weight)) {
    visitor({fmt::format("{}.{}", linear.name, floats.name), group_of_floats(floats.kind), *floats.values,
             floats.stored_type, floats.converts_on_load});
  }
  if (!linear.bias.defined()) return;
  visitor({linear.name + ".bias", TunableGroup::biases, linear.bias, linear.stored_bias_type.value_or(stored)});
}

void visit(model::Block& block, at::ScalarType stored, const Visitor& visitor) {
  for (auto& [role, norm] : block.norms) visit(norm, group_of(role, block.facts), stored, visitor);
  for (auto& part : block.linears) visit(part.linear, stored, visitor);
}

// The value difference for a change of 1, in the shape of `start`.
at::Tensor unit_of(TunableGroup group, const at::Tensor& start) {
  switch (group) {
    case TunableGroup::scales:
      return start;
    case TunableGroup::codebooks:
      return start.square().mean(1, /*keepdim=*/true).sqrt().expand_as(start);  // the channel's RMS weight
    case TunableGroup::norms:
    case TunableGroup::router_norms:
    case TunableGroup::biases:
    case TunableGroup::zeros:
      break;
  }
  return at::ones_like(start);
}

}  // namespace

TunableGroup group_of(model::NormRole role, const model::LayerFacts& facts) {
  return role == model::NormRole::mlp && facts.experts ? TunableGroup::router_norms : TunableGroup::norms;
}

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
    if (found == kGroups.end())
      fail("--tune {}: not known; known are norms, router-norms, biases, scales, zeros, codebooks", name);
    groups.insert(found->first);
    if (found->first == TunableGroup::scales) groups.insert(TunableGroup::codebooks);
  }
  if (groups.empty()) fail("--tune: nothing named; name some of norms, router-norms, biases, scales, zeros, codebooks");
  return groups;
}

template <class Part>
std::vector<TunableField> tunable_fields(const Part& part, const std::set<TunableGroup>& groups,
                                         at::ScalarType loaded) {
  std::vector<TunableField> fields;
  Part copy = part;
  visit(copy, loaded, [&](const Field& field) {
    if (!groups.contains(field.group)) return;
    const auto loaded_as = field.converts_on_load ? loaded : field.stored;
    fields.push_back({field.name, field.group, field.values.detach(), field.stored, loaded_as});
  });
  return fields;
}

TunableSet::Buffers& TunableSet::buffers_for(const TunableField& field) {
  const auto found = std::ranges::find_if(buffers_, [&](const Buffers& buffers) {
    return buffers.group == field.group && buffers.stored == field.stored && buffers.loaded == field.loaded;
  });
  if (found != buffers_.end()) return *found;
  return buffers_.emplace_back(Buffers{field.group, {}, {}, {}, {}, {}, field.stored, field.loaded});
}

TunableSet::TunableSet(const std::vector<TunableField>& fields) {
  const c10::NoGradGuard no_gradients;
  std::vector<std::int64_t> sizes;  // one per buffer
  const auto number_of = [&](const TunableField& field) {
    return static_cast<std::size_t>(&buffers_for(field) - buffers_.data());
  };
  for (const auto& field : fields) {
    sizes.resize(std::max(sizes.size(), number_of(field) + 1));
    sizes[number_of(field)] += field.start.numel();
  }
  for (std::size_t i = 0; i < buffers_.size(); ++i) {
    auto& buffers = buffers_[i];
    buffers.start = at::empty({sizes[i]}, fields.front().start.options().dtype(at::kFloat));
    buffers.unit = at::empty_like(buffers.start);
    buffers.change = at::zeros_like(buffers.start);
    buffers.gradient = at::zeros_like(buffers.start);
    buffers.value = at::empty_like(buffers.start);
  }
  std::vector<std::int64_t> used(buffers_.size());
  for (const auto& field : fields) {
    const auto number = number_of(field);
    const auto view = [&](const at::Tensor& flat) {
      return flat.narrow(0, used[number], field.start.numel()).view(field.start.sizes());
    };
    const auto& buffers = buffers_[number];
    Tunable tunable = {field.name,         field.group,          view(buffers.value),   view(buffers.start),
                       view(buffers.unit), view(buffers.change), view(buffers.gradient)};
    tunable.start.copy_(field.start);
    tunable.unit.copy_(unit_of(field.group, field.start));
    tunable.value = tunable.value.detach().requires_grad_();
    tunable.value.mutable_grad() = tunable.gradient;  // backward passes accumulate in place
    tunables_.push_back(std::move(tunable));
    used[number] += field.start.numel();
  }
  refresh();
}

std::vector<TunableSet::Group> TunableSet::groups() const {
  std::vector<Group> groups;
  for (const auto& buffers : buffers_) groups.push_back({buffers.group, buffers.change, buffers.gradient});
  return groups;
}

bool TunableSet::finite_gradients() const {
  return std::ranges::all_of(buffers_, [](const Buffers& buffers) { return all_finite(buffers.gradient); });
}

void TunableSet::refresh() {
  const c10::NoGradGuard no_gradients;
  for (auto& buffers : buffers_) {
    const auto exact = at::addcmul(buffers.start, buffers.unit, buffers.change);
    buffers.value.copy_(exact.to(buffers.stored).to(buffers.loaded));
  }
}

void TunableSet::clear_gradients() {
  for (auto& buffers : buffers_) buffers.gradient.zero_();
}

void TunableSet::finish_gradients() {
  for (auto& buffers : buffers_) buffers.gradient.mul_(buffers.unit);
}

template <class Part>
Part with_values(Part part, const std::set<TunableGroup>& groups, const TunableSet& set, std::size_t first,
                 bool frozen) {
  visit(part, at::kFloat, [&](const Field& field) {
    if (!groups.contains(field.group)) return;
    const auto& value = set.all()[first++].value;
    field.values = frozen ? value.detach().clone() : value;
  });
  return part;
}

template std::vector<TunableField> tunable_fields(const model::Block&, const std::set<TunableGroup>&, at::ScalarType);
template std::vector<TunableField> tunable_fields(const model::Norm&, const std::set<TunableGroup>&, at::ScalarType);
template model::Block with_values(model::Block, const std::set<TunableGroup>&, const TunableSet&, std::size_t, bool);
template model::Norm with_values(model::Norm, const std::set<TunableGroup>&, const TunableSet&, std::size_t, bool);

}  // namespace normtweak::tweak
