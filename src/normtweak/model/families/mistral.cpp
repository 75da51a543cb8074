// Mistral: LLaMA with attention to a window of the last tokens, and without biases.
#include "normtweak/model/families/families.h"

namespace normtweak::model {

const Family kMistral = {
    .name = "mistral",
    .architectures = {"MistralForCausalLM"},
    .window = {.key = "sliding_window", .fallback = 4096},
    .numbers = {{&ModelConfig::context, {}, {}, 131072},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-6},
                {&ModelConfig::key_value_heads, {}, {}, 8},
                {&ModelConfig::intermediate, {}, {}, 14336}},
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
    .idle_tensors = {"self_attn.rotary_emb.inv_freq"},
};

}  // namespace normtweak::model
