// LLaMA and the models built like it (SmolLM, TinyLlama, Vicuna, ...).
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/shared_rows.h"

namespace normtweak::model {

const Family kLlama = like_llama({
    .name = "llama",
    .architectures = {"LlamaForCausalLM"},
    .numbers = {{&ModelConfig::context, {}, {}, 2048},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-6},
                {&ModelConfig::query_key_value_bias, "attention_bias"},
                {&ModelConfig::attention_output_bias, "attention_bias"},
                {&ModelConfig::mlp_bias, "mlp_bias"}},
    .key_rules = {{"rope_interleaved", KeyRule::Use::expected, "false", equals<false>},
                  {"pretraining_tp"},  // sums in another order; gone from transformers 5
                  {"add_cross_attention"}},
    .idle_tensors = {"self_attn.rotary_emb.inv_freq"},
    .gguf = {.architecture = "llama", .rotary_permuted = true, .idle_tensor = "attn_rot_embd.weight"},
});

}  // namespace normtweak::model
