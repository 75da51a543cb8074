// Gemma 2: Gemma with norms before and after each half, capped scores and logits, and windows in every second block.
#include "normtweak/base/error.h"
#include "normtweak/model/config_values.h"
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/gguf_sizes.h"
#include "normtweak/model/families/shared_rows.h"
#include "normtweak/model/gguf_keys.h"
#include "normtweak/model/gguf_metadata.h"

namespace normtweak::model {
namespace {

constexpr Range kFactors = {1e-6, 1e6};

bool has_window(const ConfigValues& /*values*/, const ModelConfig& /*config*/, std::int64_t layer) {
  return layer % 2 == 0;
}

// llama.cpp derives the scale from the head, but for the model of 46 blocks. Files of its first version lack the caps.
void complete_from_gguf(const GgufMetadata& metadata, Json& config) {
  const auto* period = metadata.find("attention.sliding_window_pattern");
  if (period != nullptr && *period != 2) {
    fail("{} is {}, which is not supported; 2 is", metadata.name("attention.sliding_window_pattern"), show(*period));
  }
  config["sliding_window"] =
      metadata.find("attention.sliding_window") == nullptr ? Json(4096) : *metadata.find("attention.sliding_window");
  if (metadata.find("attn_logit_softcapping") == nullptr) config["attn_logit_softcapping"] = 50;
  if (metadata.find("final_logit_softcapping") == nullptr) config["final_logit_softcapping"] = 30;
  const bool by_width = config.at("num_hidden_layers") == 46 || config.at("head_dim").is_null();
  config[std::string(kGemmaScalar)] = by_width ? Json(hidden_per_head(config)) : config.at("head_dim");
}

// llama.cpp takes every second block for one with a window.
void add_keys(const ModelConfig& config, GgufArchitectureKeys& keys) {
  keys.put("attention.sliding_window", config.layer_facts.front().window);
}

}  // namespace

const Family kGemma2 = like_llama({
    .name = "gemma2",
    .architectures = {"Gemma2ForCausalLM"},
    .norm_shift = 1,
    .topology = Topology::sandwich,
    .window = {.key = "sliding_window", .fallback = 4096, .applies = has_window},
    .activation = {.key = "hidden_activation", .fallback = "gelu_pytorch_tanh"},
    .numbers = {{&ModelConfig::context, {}, {}, 8192},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-6},
                {&ModelConfig::key_value_heads, {}, {}, 4},
                {&ModelConfig::head_size, {}, {}, 256},
                {&ModelConfig::intermediate, {}, {}, 9216},
                {&ModelConfig::tied_head, {}, {}, 1},
                {&ModelConfig::query_key_value_bias, "attention_bias"},
                {&ModelConfig::attention_output_bias, "attention_bias"},
                {&ModelConfig::attention_cap, "attn_logit_softcapping", "attn_logit_softcapping", 50, kFactors,
                 Fallback(0)},
                {&ModelConfig::logit_cap, "final_logit_softcapping", "final_logit_softcapping", 30, kFactors,
                 Fallback(0)}},
    .key_rules = {{"hidden_act"},  // hidden_activation counts
                  {"cache_implementation"},
                  {"use_bidirectional_attention", KeyRule::Use::only, "false", equals<false>}},
    .complete = set_gemma_factors,
    .norms = sandwich_norms(),
    .gguf = {.architecture = "gemma2",
             .known_keys = {"attention.sliding_window", "attention.sliding_window_pattern", "attention.scale"},
             .complete = complete_from_gguf,
             .add_keys = add_keys},
});

}  // namespace normtweak::model
