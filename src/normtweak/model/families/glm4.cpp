// GLM-4: GLM with norms before and after each half.
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/shared_rows.h"

namespace normtweak::model {

const Family kGlm4 = like_llama({
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
    .norms = {{NormRole::attention, "input_layernorm", "attn_norm"},
              {NormRole::attention_output, "post_self_attn_layernorm", "post_attention_norm"},
              {NormRole::mlp, "post_attention_layernorm", "ffn_norm"},
              {NormRole::mlp_output, "post_mlp_layernorm", "post_ffw_norm"}},
    .linears = joined(llama_attention(), {{LinearRole::gate_up, "mlp.gate_up_proj", "ffn_up"},
                                          {LinearRole::down, "mlp.down_proj", "ffn_down"}}),
    .gguf = {.architecture = "glm4"},
});

}  // namespace normtweak::model
