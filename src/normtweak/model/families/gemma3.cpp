// Gemma 3 (text): Gemma 2 without caps of scores, with norms of each query and key head, and rotary bases for windows
// and for full attention.
#include <algorithm>

#include "normtweak/model/config_values.h"
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/gguf_sizes.h"
#include "normtweak/model/families/shared_rows.h"
#include "normtweak/model/gguf_keys.h"
#include "normtweak/model/gguf_metadata.h"

namespace normtweak::model {
namespace {

constexpr Range kFactors = {1e-6, 1e6};
constexpr Range kBases = {1, 1e30};
constexpr std::string_view kPattern = "sliding_window_pattern", kLocalBase = "rope_local_base_freq";

// The last block of each period attends to everything.
bool has_window(const ConfigValues& values, const ModelConfig& /*config*/, std::int64_t layer) {
  const auto period = values.has(kPattern) ? values.count(kPattern, {1, 1 << 20}) : 6;
  return (layer + 1) % period != 0;
}

void complete(const ConfigValues& values, ModelConfig& config) {
  set_gemma_factors(values, config);
  values.has(kPattern);  // `layer_types` may say it instead
  const bool has_local = values.has(kLocalBase);
  if (config.rotary.size() > 1) return;
  auto local = config.rotary.front();
  local.base = has_local ? values.number(kLocalBase, kBases) : 10000;
  local.scaling = {};
  config.rotary.push_back(local);
  for (auto& layer : config.layer_facts) layer.rotary = layer.window > 0 ? 1 : 0;
}

// llama.cpp derives the scale from the head, but for the model of 62 blocks, and has no windows without their key.
void complete_from_gguf(const GgufMetadata& metadata, Json& config) {
  const auto copy = [&](std::string_view key, std::string_view source) {
    if (const auto* value = metadata.find(source)) config[std::string(key)] = *value;
  };
  copy("sliding_window", "attention.sliding_window");
  copy(kPattern, "attention.sliding_window_pattern");  // a list of layers is refused as no number
  const auto* window = metadata.find("attention.sliding_window");
  if (window == nullptr || *window == 0) config[std::string(kPattern)] = 1;
  copy(kLocalBase, "rope.freq_base_swa");
  const bool by_width = config.at("num_hidden_layers") == 62 || config.at("head_dim").is_null();
  config[std::string(kGemmaScalar)] = by_width ? Json(hidden_per_head(config)) : config.at("head_dim");
}

// The pattern's period is the number of the first block without a window.
void add_keys(const ModelConfig& config, GgufArchitectureKeys& keys) {
  const auto full = std::ranges::find(config.layer_facts, 0, &LayerFacts::window);
  const auto windowed = std::ranges::find_if(config.layer_facts, [](const auto& layer) { return layer.window > 0; });
  if (windowed == config.layer_facts.end()) return;
  keys.put("attention.sliding_window", windowed->window);
  if (full != config.layer_facts.end()) {
    keys.put("attention.sliding_window_pattern", std::int64_t{full - config.layer_facts.begin() + 1});
  }
  keys.put("rope.freq_base_swa", config.rotary.back().base);
}

}  // namespace

const Family kGemma3 = like_llama({
    .name = "gemma3_text",
    .architectures = {"Gemma3ForCausalLM"},
    .norm_shift = 1,
    .topology = Topology::sandwich,
    .rotary = {.base = 1000000},
    .window = {.key = "sliding_window", .fallback = 4096, .applies = has_window},
    .activation = {.key = "hidden_activation", .fallback = "gelu_pytorch_tanh"},
    .numbers = {{&ModelConfig::context, {}, {}, 131072},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-6},
                {&ModelConfig::key_value_heads, {}, {}, 4},
                {&ModelConfig::head_size, {}, {}, 256},
                {&ModelConfig::intermediate, {}, {}, 9216},
                {&ModelConfig::tied_head, {}, {}, 1},
                {&ModelConfig::query_key_value_bias, "attention_bias"},
                {&ModelConfig::attention_output_bias, "attention_bias"},
                {&ModelConfig::logit_cap, "final_logit_softcapping", "final_logit_softcapping", 0, kFactors}},
    .key_rules = {{"hidden_act"},              // hidden_activation counts
                  {"attn_logit_softcapping"},  // not applied
                  {"cache_implementation"},
                  {"_sliding_window_pattern"},  // transformers 5 writes `layer_types` as well
                  {"use_bidirectional_attention", KeyRule::Use::only, "false", equals<false>}},
    .complete = complete,
    .norms = with_head_norms(sandwich_norms()),
    .gguf = {.architecture = "gemma3",
             .known_keys = {"attention.sliding_window", "attention.sliding_window_pattern", "attention.scale",
                            "rope.freq_base_swa"},
             .complete = complete_from_gguf,
             .add_keys = add_keys},
});

}  // namespace normtweak::model
