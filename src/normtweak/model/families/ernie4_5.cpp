// ERNIE 4.5 (dense): LLaMA whose heads are rotated by neighbouring channels.
#include "normtweak/model/families/families.h"

namespace normtweak::model {

const Family kErnie45 = {
    .name = "ernie4_5",
    .architectures = {"Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM"},
    .rotary = {.interleaved = true, .base = 500000},
    .numbers = {{&ModelConfig::context, {}, {}, 131072},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-5},
                {&ModelConfig::key_value_heads, {}, {}, 2},
                {&ModelConfig::head_size, {}, {}, 128},
                {&ModelConfig::intermediate, {}, {}, 3072},
                {&ModelConfig::tied_head, {}, {}, 1},
                {&ModelConfig::query_key_value_bias, "use_bias"},
                {&ModelConfig::attention_output_bias, "use_bias"},
                {&ModelConfig::mlp_bias, "use_bias"}},
    .key_rules = {{"compression_ratio", KeyRule::Use::expected, "1", equals<1>},  // of positions, in the first code
                  {"use_rmsnorm", KeyRule::Use::expected, "true", equals<true>}},
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
    .gguf = {.architecture = "ernie4_5"},
};

}  // namespace normtweak::model
