// Mistral: LLaMA with attention to a window of the last tokens, and without biases.
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/shared_rows.h"
#include "normtweak/model/gguf_metadata.h"

namespace normtweak::model {
namespace {

// llama.cpp has Mistral without a window as a LLaMA, and files of that architecture are read as one.
bool owns_none(const GgufMetadata& /*metadata*/) { return false; }

}  // namespace

const Family kMistral = like_llama({
    .name = "mistral",
    .architectures = {"MistralForCausalLM"},
    .window = {.key = "sliding_window", .fallback = 4096},
    .numbers = {{&ModelConfig::context, {}, {}, 131072},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-6},
                {&ModelConfig::key_value_heads, {}, {}, 8},
                {&ModelConfig::intermediate, {}, {}, 14336}},
    .idle_tensors = {"self_attn.rotary_emb.inv_freq"},
    .gguf = {.architecture = "llama", .rotary_permuted = true, .owns = owns_none},
});

}  // namespace normtweak::model
