// StableLM: LLaMA with LayerNorms, and a quarter of each head rotated.
#include "normtweak/model/config_values.h"
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/shared_rows.h"
#include "normtweak/model/gguf_keys.h"
#include "normtweak/model/gguf_metadata.h"

namespace normtweak::model {
namespace {

constexpr std::string_view kParallel = "use_parallel_residual";

bool has_head_norms(const ModelConfig& config, const LayerFacts& /*layer*/) { return config.query_key_norms; }
bool has_mlp_norm(const ModelConfig& config, const LayerFacts& /*layer*/) {
  return config.topology != Topology::parallel;
}

void complete(const ConfigValues& values, ModelConfig& config) {
  if (values.flag(kParallel, false)) config.topology = Topology::parallel;
}

// As llama.cpp decides it: its converter writes the key as true where the config lacks it, which means false there.
void complete_from_gguf(const GgufMetadata& metadata, Json& config) {
  config[std::string(kParallel)] = !metadata.has_tensor("blk.0.ffn_norm.weight");
}

void add_keys(const ModelConfig& config, GgufArchitectureKeys& keys) {
  keys.put(kParallel, config.topology == Topology::parallel);
}

}  // namespace

const Family kStablelm = like_llama({
    .name = "stablelm",
    .architectures = {"StableLmForCausalLM"},
    .norm = NormKind::layer,
    .rotary = {.share = 0.25, .share_key = "partial_rotary_factor"},
    .numbers = {{&ModelConfig::norm_bias, {}, {}, 1},
                {&ModelConfig::context, {}, {}, 4096},
                {&ModelConfig::norm_epsilon, "layer_norm_eps", "attention.layer_norm_epsilon", 1e-5},
                {&ModelConfig::key_value_heads, {}, {}, 32},
                {&ModelConfig::intermediate, {}, {}, 6912},
                {&ModelConfig::query_key_value_bias, "use_qkv_bias"},
                {&ModelConfig::query_key_norms, "qk_layernorm"},
                {&ModelConfig::head_size, ""}},
    .complete = complete,
    .norms = {{NormRole::attention, "input_layernorm", "attn_norm"},
              {NormRole::mlp, "post_attention_layernorm", "ffn_norm", has_mlp_norm},
              {NormRole::query, "self_attn.q_layernorm.norms.{}", "attn_q_norm", has_head_norms, false},
              {NormRole::key, "self_attn.k_layernorm.norms.{}", "attn_k_norm", has_head_norms, false}},
    .gguf = {.architecture = "stablelm",
             .known_keys = {"use_parallel_residual"},
             .complete = complete_from_gguf,
             .add_keys = add_keys},
});

}  // namespace normtweak::model
