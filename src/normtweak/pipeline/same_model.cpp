#include "normtweak/pipeline/same_model.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/model/hyperparameters.h"

namespace normtweak::pipeline {
namespace {

using model::Activation;
using model::RotaryScaling;

struct Fact {
  std::string_view name;
  std::string value;
  double rounded = 0;  // numbers that some formats store in F32, compared with a tolerance
};

Fact count(std::string_view name, std::int64_t value) { return {name, std::to_string(value)}; }
Fact flag(std::string_view name, bool value) { return {name, value ? "yes" : "no"}; }
Fact number(std::string_view name, double value) { return {name, fmt::format("{:.6g}", value), value}; }

bool same(const Fact& a, const Fact& b) {
  constexpr double kNear = 1e-5;
  if (a.rounded == 0 || b.rounded == 0) return a.value == b.value;
  return std::abs(a.rounded - b.rounded) <= kNear * std::max(std::abs(a.rounded), std::abs(b.rounded));
}

std::string_view name_of(Activation activation) {
  switch (activation) {
    case Activation::silu:
      return "silu";
    case Activation::gelu:
      return "gelu";
    case Activation::gelu_tanh:
      return "gelu (tanh)";
    case Activation::relu:
      return "relu";
  }
  return "";
}

std::string_view name_of(RotaryScaling::Kind kind) {
  switch (kind) {
    case RotaryScaling::Kind::none:
      return "none";
    case RotaryScaling::Kind::linear:
      return "linear";
    case RotaryScaling::Kind::dynamic:
      return "dynamic";
    case RotaryScaling::Kind::llama3:
      return "llama3";
    case RotaryScaling::Kind::yarn:
      return "yarn";
    case RotaryScaling::Kind::longrope:
      return "longrope";
  }
  return "";
}

void add_rotary(const model::Rotary& rotary, std::vector<Fact>& facts) {
  auto scaling = rotary.scaling;
  if (scaling.kind == RotaryScaling::Kind::linear && scaling.factor == 1) scaling = {};  // no scaling
  facts.push_back(number("rotary base", rotary.base));
  facts.push_back(count("rotated channels of a head", rotary.size));
  facts.push_back({"rotary scaling", std::string(name_of(scaling.kind))});
  if (scaling.kind == RotaryScaling::Kind::none) return;
  facts.push_back(number("factor of the rotary scaling", scaling.factor));
  if (scaling.kind == RotaryScaling::Kind::linear) return;
  facts.push_back(number("low frequency factor of the rotary scaling", scaling.low_frequency));
  facts.push_back(number("high frequency factor of the rotary scaling", scaling.high_frequency));
  facts.push_back(number("original context of the rotary scaling", scaling.original_context));
  facts.push_back(number("attention factor of the rotary scaling", scaling.attention_factor));
  for (const auto* factors : {&scaling.short_factors, &scaling.long_factors}) {
    for (const auto factor : *factors) facts.push_back(number("longrope factors", factor));
  }
}

// What the rows of the family read besides.
void add_numbers(const model::Checkpoint& checkpoint, std::vector<Fact>& facts) {
  using Config = model::ModelConfig;
  const auto& config = checkpoint.numbers;
  for (const auto& row : hyperparameters(*checkpoint.family)) {
    const auto name = row.key.value_or("");
    if (name.empty() || row.field == model::Hyperparameter::Field(&Config::tied_head)) continue;
    if (row.field == model::Hyperparameter::Field(&Config::context)) continue;  // may be extended
    if (const auto* size = std::get_if<std::int64_t Config::*>(&row.field)) {
      facts.push_back(count(name, config.*(*size)));
    } else if (const auto* value = std::get_if<double Config::*>(&row.field)) {
      facts.push_back(number(name, config.*(*value)));
    } else if (const auto* is_set = std::get_if<bool Config::*>(&row.field)) {
      facts.push_back(flag(name, config.*(*is_set)));
    }
  }
}

// Most general facts first. If the kind of model or of scaling differs, the lists have different lengths, but that
// difference comes first.
std::vector<Fact> facts_of(const model::Checkpoint& checkpoint, bool tied_head) {
  const auto& config = checkpoint.numbers;
  std::vector<Fact> facts = {{"family", std::string(checkpoint.family->name)},
                             count("blocks", config.layers),
                             count("hidden size", config.hidden),
                             count("vocabulary", config.vocabulary),
                             count("heads", config.heads),
                             count("key-value heads", config.key_value_heads),
                             count("head size", config.head_size),
                             count("MLP size", config.intermediate),
                             {"activation", std::string(name_of(config.activation))},
                             number("norm epsilon", config.norm_epsilon),
                             flag("biases of query, key and value", config.query_key_value_bias),
                             flag("bias of the attention's output", config.attention_output_bias),
                             flag("biases of the MLP", config.mlp_bias),
                             flag("head tied to the embedding", tied_head),
                             count("topology", static_cast<int>(config.topology)),
                             number("scale of attention", config.attention_scale)};
  if (checkpoint.family->position == model::Position::learned) {
    facts.push_back(count("learned positions", config.context));
  }
  add_numbers(checkpoint, facts);
  for (const auto& rotary : config.rotary) add_rotary(rotary, facts);
  for (const auto& layer : config.layer_facts) {
    facts.push_back(count("window of a block", layer.window));
    facts.push_back(count("rotary settings of a block", layer.rotary));
    facts.push_back(flag("experts of a block", layer.experts));
  }
  return facts;
}

}  // namespace

void check_same_model(const model::Checkpoint& quantized, const model::Checkpoint& reference) {
  const bool same_head = quantized.numbers.tied_head == reference.numbers.tied_head;
  const auto head = [&](const model::Checkpoint& checkpoint) {
    // Some programs write the head as a copy of the embedding; both are read to detect that.
    return checkpoint.numbers.tied_head || (!same_head && head_copies_embedding(checkpoint));
  };
  const auto found = facts_of(quantized, head(quantized)), expected = facts_of(reference, head(reference));
  const auto [ours, theirs] = std::ranges::mismatch(found, expected, same);
  if (ours == found.end() || theirs == expected.end()) return;
  fail("{}: is no quantization of {}: {}: {} here, {} there", quantized.path, reference.path, ours->name, ours->value,
       theirs->value);
}

}  // namespace normtweak::pipeline
