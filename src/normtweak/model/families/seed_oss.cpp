// Seed-OSS: LLaMA with biases of query, key and value.
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/shared_rows.h"

namespace normtweak::model {

const Family kSeedOss = like_llama({
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
    .key_rules = {{"pretraining_tp"}, {"residual_dropout"}},
    .norms = {{NormRole::attention, "input_layernorm", "attn_norm"},
              {NormRole::mlp, "post_attention_layernorm", "post_attention_norm"}},
    .gguf = {.architecture = "seed_oss"},
});

}  // namespace normtweak::model
