// OLMo 2: norms of what each half adds to the stream, and of all query and all key heads together.
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/shared_rows.h"

namespace normtweak::model {

const Family kOlmo2 = like_llama({
    .name = "olmo2",
    .architectures = {"Olmo2ForCausalLM"},
    .topology = Topology::output_norm,
    .head_norm = HeadNorm::all,
    .numbers = {{&ModelConfig::context, {}, {}, 2048},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-5},
                {&ModelConfig::intermediate, {}, {}, 11008},
                {&ModelConfig::query_key_value_bias, "attention_bias"},
                {&ModelConfig::attention_output_bias, "attention_bias"}},
    .norms = {{NormRole::attention_output, "post_attention_layernorm", "post_attention_norm"},
              {NormRole::mlp_output, "post_feedforward_layernorm", "post_ffw_norm"},
              {NormRole::query, "self_attn.q_norm", "attn_q_norm"},
              {NormRole::key, "self_attn.k_norm", "attn_k_norm"}},
    .gguf = {.architecture = "olmo2"},
});

}  // namespace normtweak::model
