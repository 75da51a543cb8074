#include "normtweak/pipeline/same_model.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "normtweak/base/error.h"

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
    case RotaryScaling::Kind::llama3:
      return "llama3";
  }
  return "";
}

void add_rotary(const model::ModelConfig& config, std::vector<Fact>& facts) {
  auto scaling = config.rotary_scaling;
  if (scaling.kind == RotaryScaling::Kind::linear && scaling.factor == 1) scaling = {};  // no scaling
  facts.push_back(number("rotary base", config.rotary_base));
  facts.push_back({"rotary scaling", std::string(name_of(scaling.kind))});
  if (scaling.kind == RotaryScaling::Kind::none) return;
  facts.push_back(number("factor of the rotary scaling", scaling.factor));
  if (scaling.kind == RotaryScaling::Kind::linear) return;
  facts.push_back(number("low frequency factor of the rotary scaling", scaling.low_frequency));
  facts.push_back(number("high frequency factor of the rotary scaling", scaling.high_frequency));
  facts.push_back(number("original context of the rotary scaling", scaling.original_context));
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
                             flag("head tied to the embedding", tied_head)};
  if (checkpoint.family->position == model::Position::rotary) {
    add_rotary(config, facts);
  } else {
    facts.push_back(count("learned positions", config.context));
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
