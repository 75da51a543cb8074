// OLMo 2: norms of what each half adds to the stream, and of all query and all key heads together.
#include "normtweak/model/families/families.h"

namespace normtweak::model {

const Family kOlmo2 = {
    .name = "olmo2",
    .architectures = {"Olmo2ForCausalLM"},
    .topology = Topology::output_norm,
    .head_norm = HeadNorm::all,
    .numbers = {{&ModelConfig::context, {}, {}, 2048},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-5},
                {&ModelConfig::intermediate, {}, {}, 11008},
                {&ModelConfig::query_key_value_bias, "attention_bias"},
                {&ModelConfig::attention_output_bias, "attention_bias"}},
    .key_rules = {{"attention_dropout"}},
    .base_prefix = "model.",
    .embedding = {"model.embed_tokens", "token_embd"},
    .final_norm = {"model.norm", "output_norm"},
    .head = {"lm_head", "output"},
    .block = {"model.layers.{}", "blk.{}"},
    .norms = {{NormRole::attention_output, "post_attention_layernorm", "post_attention_norm"},
              {NormRole::mlp_output, "post_feedforward_layernorm", "post_ffw_norm"},
              {NormRole::query, "self_attn.q_norm", "attn_q_norm"},
              {NormRole::key, "self_attn.k_norm", "attn_k_norm"}},
    .linears = {{LinearRole::query, "self_attn.q_proj", "attn_q"},
                {LinearRole::key, "self_attn.k_proj", "attn_k"},
                {LinearRole::value, "self_attn.v_proj", "attn_v"},
                {LinearRole::attention_output, "self_attn.o_proj", "attn_output"},
                {LinearRole::gate, "mlp.gate_proj", "ffn_gate"},
                {LinearRole::up, "mlp.up_proj", "ffn_up"},
                {LinearRole::down, "mlp.down_proj", "ffn_down"}},
    .gguf = {.architecture = "olmo2"},
};

}  // namespace normtweak::model
