// ERNIE 4.5 (dense): LLaMA whose heads are rotated by neighbouring channels.
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/shared_rows.h"

namespace normtweak::model {

const Family kErnie45 = like_llama({
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
    .gguf = {.architecture = "ernie4_5"},
});

}  // namespace normtweak::model
