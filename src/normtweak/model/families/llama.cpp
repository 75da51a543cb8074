// LLaMA and the models built like it (SmolLM, TinyLlama, Vicuna, ...).
#include "normtweak/model/families/families.h"

namespace normtweak::model {

const Family kLlama = {
    .name = "llama",
    .architectures = {"LlamaForCausalLM"},
    .numbers = {{&ModelConfig::context, {}, {}, 2048},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-6},
                {&ModelConfig::query_key_value_bias, "attention_bias"},
                {&ModelConfig::attention_output_bias, "attention_bias"},
                {&ModelConfig::mlp_bias, "mlp_bias"}},
    .key_rules = {{"rope_interleaved", KeyRule::Use::expected, "false", equals<false>},
                  {"pretraining_tp"},  // sums in another order; gone from transformers 5
                  {"add_cross_attention"},
                  {"attention_dropout"}},
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
    .idle_tensors = {"self_attn.rotary_emb.inv_freq"},
    .gguf = {.architecture = "llama", .rotary_permuted = true, .idle_tensor = "attn_rot_embd.weight"},
};

}  // namespace normtweak::model
