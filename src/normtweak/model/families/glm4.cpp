// GLM-4: GLM with norms before and after each half.
#include "normtweak/model/families/families.h"

namespace normtweak::model {

const Family kGlm4 = {
    .name = "glm4",
    .architectures = {"Glm4ForCausalLM"},
    .topology = Topology::sandwich,
    .rotary = {.interleaved = true, .share = 0.5, .share_key = "partial_rotary_factor"},
    .numbers = {{&ModelConfig::context, {}, {}, 131072},
                {&ModelConfig::norm_epsilon, {}, {}, 1.5625e-7},
                {&ModelConfig::key_value_heads, {}, {}, 2},
                {&ModelConfig::head_size, {}, {}, 128},
                {&ModelConfig::intermediate, {}, {}, 13696},
                {&ModelConfig::query_key_value_bias, "attention_bias", {}, 1}},
    .key_rules = {{"attention_dropout"}},
    .base_prefix = "model.",
    .embedding = {"model.embed_tokens", "token_embd"},
    .final_norm = {"model.norm", "output_norm"},
    .head = {"lm_head", "output"},
    .block = {"model.layers.{}", "blk.{}"},
    .norms = {{NormRole::attention, "input_layernorm", "attn_norm"},
              {NormRole::attention_output, "post_self_attn_layernorm", "post_attention_norm"},
              {NormRole::mlp, "post_attention_layernorm", "ffn_norm"},
              {NormRole::mlp_output, "post_mlp_layernorm", "post_ffw_norm"}},
    .linears = {{LinearRole::query, "self_attn.q_proj", "attn_q"},
                {LinearRole::key, "self_attn.k_proj", "attn_k"},
                {LinearRole::value, "self_attn.v_proj", "attn_v"},
                {LinearRole::attention_output, "self_attn.o_proj", "attn_output"},
                {LinearRole::gate_up, "mlp.gate_up_proj", "ffn_up"},
                {LinearRole::down, "mlp.down_proj", "ffn_down"}},
    .gguf = {.architecture = "glm4"},
};

}  // namespace normtweak::model
