#include "normtweak/model/fused_linears.h"

#include <ATen/ops/cat.h>

#include <algorithm>

namespace normtweak::model {
namespace {

// Copies may take one part in so many of the workspace: with more, fewer rows in a batch would cost what they save.
constexpr std::int64_t kShare = 8;

struct Group {
  LinearRole joined;
  std::vector<LinearRole> parts;
};

std::vector<Group> groups_of(const ModelConfig& config) {
  std::vector<Group> groups = {{LinearRole::gate_up, {LinearRole::gate, LinearRole::up}}};
  if (config.query_key_value_order != RowOrder::groups)
    groups.push_back({LinearRole::query_key_value, {LinearRole::query, LinearRole::key, LinearRole::value}});
  return groups;
}

// Of each part in a group; empty if they cannot be joined.
std::vector<const Linear*> parts_of(const Block& block, const Group& group) {
  std::vector<const Linear*> parts;
  for (const auto role : group.parts) parts.push_back(find(block, role));
  const auto is_float = [](const Linear* part) {
    return part != nullptr && std::holds_alternative<weights::FloatWeight>(part->weight);
  };
  if (!std::ranges::all_of(parts, is_float)) return {};
  const auto has_bias = [](const Linear* part) { return part->bias.defined(); };
  const auto biases = std::ranges::count_if(parts, has_bias);
  return biases == 0 || biases == std::ssize(parts) ? parts : std::vector<const Linear*>{};
}

Linear joined(const std::vector<const Linear*>& parts) {
  std::vector<at::Tensor> values, biases;
  for (const auto* part : parts) {
    values.push_back(std::get<weights::FloatWeight>(part->weight).values);
    if (part->bias.defined()) biases.push_back(part->bias);
  }
  Linear whole = {.name = parts.front()->name, .weight = weights::FloatWeight{at::cat(values)}};
  if (!biases.empty()) whole.bias = at::cat(biases);
  return whole;
}

std::int64_t copied_bytes(const Decoder& decoder) {
  std::int64_t bytes = 0;
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    const auto block = decoder.blocks.stored(i);
    for (const auto& group : groups_of(decoder.config)) {
      for (const auto* part : parts_of(*block, group)) {
        bytes += static_cast<std::int64_t>(std::get<weights::FloatWeight>(part->weight).values.nbytes());
      }
    }
  }
  return bytes;
}

}  // namespace

Block with_fused_linears(const Block& block, const ModelConfig& config) {
  auto fused = block;
  for (const auto& group : groups_of(config)) {
    const auto parts = parts_of(block, group);
    if (parts.empty()) continue;
    std::erase_if(fused.linears, [&](const BlockLinear& linear) {
      return linear.expert < 0 && std::ranges::find(group.parts, linear.role) != group.parts.end();
    });
    fused.linears.push_back({.role = group.joined, .linear = joined(parts)});
  }
  return fused;
}

Decoder with_fused_linears(const Decoder& decoder) {
  if (!decoder.blocks.all_on_device()) return decoder;
  const auto bytes = copied_bytes(decoder);
  if (bytes == 0 || bytes > decoder.workspace / kShare) return decoder;
  auto fused = decoder;
  fused.workspace -= bytes;
  for (int i = 0; i < decoder.blocks.size(); ++i) {
    fused.blocks.put(i, std::make_shared<const Block>(with_fused_linears(*decoder.blocks.get(i), decoder.config)));
  }
  return fused;
}

}  // namespace normtweak::model
