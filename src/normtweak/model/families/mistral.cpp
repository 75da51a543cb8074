// Mistral: LLaMA with attention to a window of the last tokens, and without biases.
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/shared_rows.h"

namespace normtweak::model {

const Family kMistral = like_llama({
    .name = "mistral",
    .architectures = {"MistralForCausalLM"},
    .window = {.key = "sliding_window", .fallback = 4096},
    .numbers = {{&ModelConfig::context, {}, {}, 131072},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-6},
                {&ModelConfig::key_value_heads, {}, {}, 8},
                {&ModelConfig::intermediate, {}, {}, 14336}},
    .idle_tensors = {"self_attn.rotary_emb.inv_freq"},
});

}  // namespace normtweak::model
