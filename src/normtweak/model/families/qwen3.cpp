// Qwen3: LLaMA with norms of each query and key head.
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/shared_rows.h"

namespace normtweak::model {
const Family kQwen3 = like_llama({
    .name = "qwen3",
    .architectures = {"Qwen3ForCausalLM"},
    .window = {.key = "sliding_window", .fallback = 4096, .applies = has_window_as_qwen},
    .numbers = {{&ModelConfig::context, {}, {}, 32768},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-6},
                {&ModelConfig::key_value_heads, {}, {}, 32},
                {&ModelConfig::head_size, {}, {}, 128},
                {&ModelConfig::intermediate, {}, {}, 22016},
                {&ModelConfig::query_key_value_bias, "attention_bias"},
                {&ModelConfig::attention_output_bias, "attention_bias"}},
    .norms = with_head_norms(llama_norms()),
    .gguf = {.architecture = "qwen3"},
});

}  // namespace normtweak::model
