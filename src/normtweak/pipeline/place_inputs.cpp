#include "normtweak/pipeline/place_inputs.h"

#include <algorithm>

namespace normtweak::pipeline {

std::map<model::Place, model::Seen> inputs_at(model::PlaceKind kind, const model::Block& block,
                                              const at::Tensor& hidden, model::BlockContext context,
                                              const model::Seen* from, at::Tensor* output) {
  std::map<model::Place, model::Seen> found;
  // Experts come one after the other, and behind the router, which reads its input at a place of the same kind.
  const bool is_last = output == nullptr && (!block.facts.experts || kind < model::PlaceKind::mlp);
  context.tap = [&](const model::Seen& seen) {
    if (seen.linear != nullptr || seen.place.kind != kind) return false;
    found[seen.place] = seen;
    return is_last;
  };
  context.from = from;
  auto left = forward(block, hidden, context);
  if (output != nullptr) *output = std::move(left);
  return found;
}

std::int64_t reached_bytes(const model::ModelConfig& config, at::ScalarType type) {
  const auto widest = std::max(config.hidden, config.heads * config.head_size);
  return config.hidden * 4 + widest * static_cast<std::int64_t>(c10::elementSize(type));
}

std::optional<at::Tensor> weights_at(const model::Seen& seen, const at::Tensor& of_rows) {
  if (!of_rows.defined()) return std::nullopt;
  return seen.tokens.defined() ? of_rows.flatten().to(seen.tokens.device()).index_select(0, seen.tokens) : of_rows;
}

}  // namespace normtweak::pipeline
