// Qwen2 and Qwen2.5: LLaMA with biases of query, key and value.
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/shared_rows.h"

namespace normtweak::model {
const Family kQwen2 = like_llama({
    .name = "qwen2",
    .architectures = {"Qwen2ForCausalLM"},
    .window = {.key = "sliding_window", .fallback = 4096, .applies = has_window_as_qwen},
    .numbers = {{&ModelConfig::context, {}, {}, 32768},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-6},
                {&ModelConfig::key_value_heads, {}, {}, 32},
                {&ModelConfig::intermediate, {}, {}, 22016},
                {&ModelConfig::query_key_value_bias, {}, {}, 1}},
    .gguf = {.architecture = "qwen2"},
});

}  // namespace normtweak::model
