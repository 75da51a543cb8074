// Qwen2 and Qwen2.5: LLaMA with biases of query, key and value.
#include "normtweak/model/config_values.h"
#include "normtweak/model/families/families.h"

namespace normtweak::model {
namespace {

// The last layers, if windows are used at all.
bool has_window(const ConfigValues& values, const ModelConfig& /*config*/, std::int64_t layer) {
  constexpr std::string_view kFirst = "max_window_layers";
  const auto first = values.has(kFirst) ? values.count(kFirst, {0, 1 << 20}) : 28;
  return values.flag("use_sliding_window", false) && layer >= first;
}

}  // namespace

const Family kQwen2 = {
    .name = "qwen2",
    .architectures = {"Qwen2ForCausalLM"},
    .window = {.key = "sliding_window", .fallback = 4096, .applies = has_window},
    .numbers = {{&ModelConfig::context, {}, {}, 32768},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-6},
                {&ModelConfig::key_value_heads, {}, {}, 32},
                {&ModelConfig::intermediate, {}, {}, 22016},
                {&ModelConfig::query_key_value_bias, {}, {}, 1}},
    .key_rules = {{"attention_dropout"}},
    .base_prefix = "model.",
    .embedding = {"model.embed_tokens", "token_embd"},
    .final_norm = {"model.norm", "output_norm"},
    .head = {"lm_head", "output"},
    .block = {"model.layers.{}", "blk.{}"},
    .norms = {{NormRole::attention, "input_layernorm", "attn_norm"},
              {NormRole::mlp, "post_attention_layernorm", "ffn_norm"}},
    .linears = {{LinearRole::query, "self_attn.q_proj", "attn_q"},
                {LinearRole::key, "self_attn.k_proj", "attn_k"},
                {LinearRole::value, "self_attn.v_proj", "attn_v"},
                {LinearRole::attention_output, "self_attn.o_proj", "attn_output"},
                {LinearRole::gate, "mlp.gate_proj", "ffn_gate"},
                {LinearRole::up, "mlp.up_proj", "ffn_up"},
                {LinearRole::down, "mlp.down_proj", "ffn_down"}},
    .gguf = {.architecture = "qwen2"},
};

}  // namespace normtweak::model
