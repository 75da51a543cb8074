#include "normtweak/pipeline/model_facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace normtweak::pipeline {
namespace {

using model::Activation;
using Fact = ModelFact;
using model::RotaryScaling;

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
  facts.push_back(number("fast rotations of the rotary scaling", scaling.beta_fast));
  facts.push_back(number("slow rotations of the rotary scaling", scaling.beta_slow));
  facts.push_back(flag("whole channels as bounds of the rotary scaling", scaling.truncate));
  for (const auto* factors : {&scaling.short_factors, &scaling.long_factors}) {
    for (const auto factor : *factors) facts.push_back(number("longrope factors", factor));
  }
}

// Factors, caps and other settings that only some families have.
void add_extras(const model::ModelConfig& config, std::vector<Fact>& facts) {
  facts.push_back(number("cap of attention scores", config.attention_cap));
  facts.push_back(number("cap of logits", config.logit_cap));
  facts.push_back(number("limit of queries, keys and values", config.query_key_value_clip));
  facts.push_back(number("steepest ALiBi slope", config.alibi_largest));
  facts.push_back(number("scale of ALiBi", config.alibi_scale));
  facts.push_back(number("scale of the embedding", config.embedding_scale));
  facts.push_back(number("scale of residuals", config.residual_scale));
  facts.push_back(number("scale of logits", config.logit_scale));
  facts.push_back(flag("bias of the head", config.head_bias));
  facts.push_back(flag("biases of norms", config.norm_bias));
  facts.push_back(flag("norms of queries and keys", config.query_key_norms));
  facts.push_back(flag("residuals of norms", config.residual_of_norms));
  facts.push_back(flag("final norm", config.final_norm));
  facts.push_back(flag("two norms", config.two_norms));
  facts.push_back(count("embedding size", config.embedding));
  facts.push_back(count("experts", config.experts));
  if (config.experts == 0) return;
  facts.push_back(count("experts of a token", config.experts_per_token));
  facts.push_back(count("MLP size of experts", config.expert_intermediate));
  facts.push_back(flag("normalised shares of experts", config.normalized_experts));
}

}  // namespace

std::vector<ModelFact> model_facts(const model::Family& family, const model::ModelConfig& config) {
  std::vector<Fact> facts = {count("blocks", config.layers),
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
                             count("topology", static_cast<int>(config.topology)),
                             number("scale of attention", config.attention_scale)};
  if (family.position == model::Position::learned) facts.push_back(count("learned positions", config.context));
  add_extras(config, facts);
  for (const auto& rotary : config.rotary) add_rotary(rotary, facts);
  for (const auto& layer : config.layer_facts) {
    facts.push_back(count("window of a block", layer.window));
    facts.push_back(count("rotary settings of a block", layer.rotary));
    facts.push_back(flag("experts of a block", layer.experts));
  }
  return facts;
}

std::optional<std::string> first_difference(const std::vector<ModelFact>& here, const std::vector<ModelFact>& there) {
  const auto [ours, theirs] = std::ranges::mismatch(here, there, same);
  if (ours == here.end() || theirs == there.end()) return std::nullopt;
  return fmt::format("{}: {} here, {} there", ours->name, ours->value, theirs->value);
}

}  // namespace normtweak::pipeline
