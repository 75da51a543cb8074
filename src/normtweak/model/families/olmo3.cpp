// OLMo 3: OLMo 2 with windows in three of four blocks, whose rotary frequencies are not scaled.
#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/model/config_values.h"
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/shared_rows.h"
#include "normtweak/model/gguf_keys.h"
#include "normtweak/model/gguf_metadata.h"

namespace normtweak::model {
namespace {

constexpr std::string_view kWindow = "attention.sliding_window", kPattern = "attention.sliding_window_pattern";
constexpr double kBase = 500000;

// The last block of each four attends to everything.
bool has_window(const ConfigValues& /*values*/, const ModelConfig& /*config*/, std::int64_t layer) {
  return (layer + 1) % 4 != 0;
}

// transformers 5 gives full attention alone what stands outside of settings for each type of layer.
void complete(const ConfigValues& values, ModelConfig& config) {
  if (config.rotary.size() > 1) return;
  constexpr std::string_view kSettings = "rope_parameters";
  if (values.has(kSettings) && !values.at(kSettings).empty() && !values.has("rope_scaling")) {
    fail("{}: {} is {}, an object with `full_attention` and `sliding_attention` is needed", values.origin(),
         values.name(kSettings), show(values.at(kSettings)));
  }
  auto local = config.rotary.front();
  if (local.base != kBase) {
    values.note(
        fmt::format("the rotary base {:g} is that of full attention alone, as in transformers 5; windows have "
                    "{:g}",
                    local.base, kBase));
  }
  local.base = kBase;
  local.scaling = {};
  config.rotary.push_back(local);
  for (auto& layer : config.layer_facts) layer.rotary = layer.window > 0 ? 1 : 0;
}

// OLMo 2, of the same architecture, has no windows.
bool has_windows(const GgufMetadata& metadata) {
  const auto* window = metadata.find(kWindow);
  return window != nullptr && *window != 0;
}

// pattern: a flag for each block, or the number of blocks of which the last has no window.
Json types_of_layers(const Json& pattern, const Json& layers) {
  constexpr std::int64_t kMostLayers = 1 << 11;  // more are refused later
  Json flags = pattern;
  const auto period = whole_number(pattern), count = whole_number(layers);
  if (period && count && *count <= kMostLayers) {
    flags = Json::array();
    for (std::int64_t i = 1; i <= *count; ++i) flags.push_back(*period <= 0 || i % *period != 0);
  }
  if (!flags.is_array()) return pattern;  // refused as no list of names
  Json types = Json::array();
  for (const auto& flag : flags) {
    types.push_back(flag == false || flag == 0 ? "full_attention" : "sliding_attention");
  }
  return types;
}

// Files of llama.cpp have one base, or one for windows beside it.
void complete_from_gguf(const GgufMetadata& metadata, Json& config) {
  config["sliding_window"] = *metadata.find(kWindow);
  if (const auto* pattern = metadata.find(kPattern)) {
    config["layer_types"] = types_of_layers(*pattern, config.at("num_hidden_layers"));
  }
  const auto* base = metadata.find("rope.freq_base_swa");
  if (base == nullptr) base = metadata.find("rope.freq_base");
  config["rope_parameters"] = {
      {"full_attention", {{"rope_type", "default"}}},
      {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", base == nullptr ? Json(10000) : *base}}}};
}

void add_keys(const ModelConfig& config, GgufArchitectureKeys& keys) {
  std::vector<bool> pattern;
  for (const auto& layer : config.layer_facts) pattern.push_back(layer.window > 0);
  const auto windowed = std::ranges::find(pattern, true);
  if (windowed == pattern.end()) return;
  keys.put("attention.sliding_window", config.layer_facts[static_cast<std::size_t>(windowed - pattern.begin())].window);
  keys.put("attention.sliding_window_pattern", pattern);
  keys.put("rope.freq_base_swa", config.rotary.back().base);
}

}  // namespace

const Family kOlmo3 = like_llama({
    .name = "olmo3",
    .architectures = {"Olmo3ForCausalLM"},
    .topology = Topology::output_norm,
    .head_norm = HeadNorm::all,
    .rotary = {.base = kBase},
    .window = {.key = "sliding_window", .fallback = 4096, .applies = has_window},
    .numbers = {{&ModelConfig::context, {}, {}, 2048},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-5},
                {&ModelConfig::intermediate, {}, {}, 11008},
                {&ModelConfig::query_key_value_bias, "attention_bias"},
                {&ModelConfig::attention_output_bias, "attention_bias"}},
    .complete = complete,
    .norms = {{NormRole::attention_output, "post_attention_layernorm", "post_attention_norm"},
              {NormRole::mlp_output, "post_feedforward_layernorm", "post_ffw_norm"},
              {NormRole::query, "self_attn.q_norm", "attn_q_norm"},
              {NormRole::key, "self_attn.k_norm", "attn_k_norm"}},
    .gguf = {.architecture = "olmo2",
             .owns = has_windows,
             .known_keys = {"attention.sliding_window", "attention.sliding_window_pattern", "rope.freq_base_swa"},
             .complete = complete_from_gguf,
             .add_keys = add_keys},
});

}  // namespace normtweak::model
