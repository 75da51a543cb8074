// Seed-OSS: LLaMA with biases of query, key and value.
#include "normtweak/model/families/families.h"

namespace normtweak::model {

const Family kSeedOss = {
    .name = "seed_oss",
    .architectures = {"SeedOssForCausalLM"},
    .numbers = {{&ModelConfig::context, {}, {}, 524288},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-6},
                {&ModelConfig::key_value_heads, {}, {}, 8},
                {&ModelConfig::head_size, {}, {}, 128},
                {&ModelConfig::intermediate, {}, {}, 27648},
                {&ModelConfig::query_key_value_bias, "attention_bias", {}, 1},
                {&ModelConfig::attention_output_bias, "attention_out_bias"},
                {&ModelConfig::mlp_bias, "mlp_bias"}},
    .key_rules = {{"attention_dropout"}, {"pretraining_tp"}, {"residual_dropout"}},
    .base_prefix = "model.",
    .embedding = {"model.embed_tokens", "token_embd"},
    .final_norm = {"model.norm", "output_norm"},
    .head = {"lm_head", "output"},
    .block = {"model.layers.{}", "blk.{}"},
    .norms = {{NormRole::attention, "input_layernorm", "attn_norm"},
              {NormRole::mlp, "post_attention_layernorm", "post_attention_norm"}},
    .linears = {{LinearRole::query, "self_attn.q_proj", "attn_q"},
                {LinearRole::key, "self_attn.k_proj", "attn_k"},
                {LinearRole::value, "self_attn.v_proj", "attn_v"},
                {LinearRole::attention_output, "self_attn.o_proj", "attn_output"},
                {LinearRole::gate, "mlp.gate_proj", "ffn_gate"},
                {LinearRole::up, "mlp.up_proj", "ffn_up"},
                {LinearRole::down, "mlp.down_proj", "ffn_down"}},
    .gguf = {.architecture = "seed_oss"},
};

}  // namespace normtweak::model
