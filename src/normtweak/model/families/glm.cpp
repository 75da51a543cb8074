// GLM: LLaMA with gate and up in one linear, and half of each head rotated, by neighbouring channels.
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/shared_rows.h"

namespace normtweak::model {

const Family kGlm = like_llama({
    .name = "glm",
    .architectures = {"GlmForCausalLM"},
    .rotary = {.interleaved = true, .share = 0.5, .share_key = "partial_rotary_factor"},
    .numbers = {{&ModelConfig::context, {}, {}, 131072},
                {&ModelConfig::norm_epsilon, {}, {}, 1.5625e-7},
                {&ModelConfig::key_value_heads, {}, {}, 2},
                {&ModelConfig::head_size, {}, {}, 128},
                {&ModelConfig::intermediate, {}, {}, 13696},
                {&ModelConfig::query_key_value_bias, "attention_bias", {}, 1}},
    .linears = joined(llama_attention(), {{LinearRole::gate_up, "mlp.gate_up_proj", "ffn_up"},
                                          {LinearRole::down, "mlp.down_proj", "ffn_down"}}),
    .gguf = {.architecture = "chatglm"},
});

}  // namespace normtweak::model
