// GPT-NeoX (Pythia): attention and MLP read the same stream; query, key and value fused head by head.
#include "normtweak/model/config_values.h"
#include "normtweak/model/families/families.h"
#include "normtweak/model/gguf_keys.h"
#include "normtweak/model/gguf_metadata.h"

namespace normtweak::model {
namespace {

constexpr std::string_view kParallel = "use_parallel_residual";

void complete(const ConfigValues& values, ModelConfig& config) {
  if (!values.flag(kParallel, true)) config.topology = Topology::pre_norm;
}

void complete_from_gguf(const GgufMetadata& metadata, Json& config) {
  if (const auto* parallel = metadata.find(kParallel)) config[std::string(kParallel)] = *parallel;
}

void add_keys(const ModelConfig& config, GgufArchitectureKeys& keys) {
  keys.put(kParallel, config.topology == Topology::parallel);
}

}  // namespace

const Family kGptNeox = {
    .name = "gpt_neox",
    .architectures = {"GPTNeoXForCausalLM"},
    .norm = NormKind::layer,
    .topology = Topology::parallel,
    .query_key_value_order = RowOrder::groups,
    .rotary = {.base_key = "rotary_emb_base", .share = 0.25, .share_key = "rotary_pct"},
    .activation = {.key = "hidden_act", .fallback = "gelu"},
    .numbers = {{&ModelConfig::context, {}, {}, 2048},
                {&ModelConfig::norm_epsilon, "layer_norm_eps", "attention.layer_norm_epsilon", 1e-5},
                {&ModelConfig::intermediate, {}, {}, 24576},
                {&ModelConfig::key_value_heads, "num_attention_heads"},
                {&ModelConfig::head_size, ""},
                {&ModelConfig::query_key_value_bias, "attention_bias", {}, 1},
                {&ModelConfig::attention_output_bias, "attention_bias", {}, 1},
                {&ModelConfig::mlp_bias, {}, {}, 1},
                {&ModelConfig::norm_bias, {}, {}, 1}},
    .complete = complete,
    .base_prefix = "gpt_neox.",
    .embedding = {"gpt_neox.embed_in", "token_embd"},
    .final_norm = {"gpt_neox.final_layer_norm", "output_norm"},
    .head = {"embed_out", "output"},
    .block = {"gpt_neox.layers.{}", "blk.{}"},
    .norms = {{NormRole::attention, "input_layernorm", "attn_norm"},
              {NormRole::mlp, "post_attention_layernorm", "ffn_norm"}},
    .linears = {{LinearRole::query_key_value, "attention.query_key_value", "attn_qkv"},
                {LinearRole::attention_output, "attention.dense", "attn_output"},
                {LinearRole::up, "mlp.dense_h_to_4h", "ffn_up"},
                {LinearRole::down, "mlp.dense_4h_to_h", "ffn_down"}},
    .idle_tensors = {"attention.bias", "attention.masked_bias", "attention.rotary_emb.inv_freq"},
    .gguf = {.architecture = "gptneox",
             .known_keys = {"use_parallel_residual"},
             .complete = complete_from_gguf,
             .add_keys = add_keys},
};

}  // namespace normtweak::model
