// Gemma: LLaMA with norms of weight 1 + w, a scaled embedding, and a tanh GELU.
#include <cmath>

#include "normtweak/model/families/families.h"

namespace normtweak::model {
namespace {

void complete(const ConfigValues& /*values*/, ModelConfig& config) {
  // as in transformers, since the first configs said gelu for it
  if (config.activation == Activation::gelu) config.activation = Activation::gelu_tanh;
  config.embedding_scale = std::sqrt(static_cast<double>(config.hidden));
}

}  // namespace

const Family kGemma = {
    .name = "gemma",
    .architectures = {"GemmaForCausalLM"},
    .norm_shift = 1,
    .activation = {.key = "hidden_act", .fallback = "gelu_pytorch_tanh"},
    .numbers = {{&ModelConfig::context, {}, {}, 8192},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-6},
                {&ModelConfig::key_value_heads, {}, {}, 16},
                {&ModelConfig::head_size, {}, {}, 256},
                {&ModelConfig::intermediate, {}, {}, 24576},
                {&ModelConfig::tied_head, {}, {}, 1},
                {&ModelConfig::query_key_value_bias, "attention_bias"},
                {&ModelConfig::attention_output_bias, "attention_bias"}},
    .key_rules = {{"attention_dropout"},
                  {"hidden_activation"},  // hidden_act counts
                  {"use_bidirectional_attention", KeyRule::Use::only, "false", equals<false>}},
    .complete = complete,
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
    .gguf = {.architecture = "gemma"},
};

}  // namespace normtweak::model
