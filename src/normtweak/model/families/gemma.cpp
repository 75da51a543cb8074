// Gemma: LLaMA with norms of weight 1 + w, a scaled embedding, and a tanh GELU.
#include <cmath>

#include "normtweak/model/families/families.h"
#include "normtweak/model/families/shared_rows.h"

namespace normtweak::model {
namespace {

void complete(const ConfigValues& /*values*/, ModelConfig& config) {
  // as in transformers, since the first configs said gelu for it
  if (config.activation == Activation::gelu) config.activation = Activation::gelu_tanh;
  config.embedding_scale = std::sqrt(static_cast<double>(config.hidden));
}

}  // namespace

const Family kGemma = like_llama({
    .name = "gemma",
    .architectures = {"GemmaForCausalLM"},
    .norm_shift = 1,
    .activation = {.key = "hidden_act", .fallback = "gelu_pytorch_tanh"},
    .numbers = {{&ModelConfig::context, {}, {}, 8192},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-6},
                {&ModelConfig::key_value_heads, {}, {}, 16},
                {&ModelConfig::head_size, {}, {}, 256},
                {&ModelConfig::intermediate, {}, {}, 24576},
                {&ModelConfig::tied_head, {}, {}, 1},
                {&ModelConfig::query_key_value_bias, "attention_bias"},
                {&ModelConfig::attention_output_bias, "attention_bias"}},
    .key_rules = {{"hidden_activation"},  // hidden_act counts
                  {"use_bidirectional_attention", KeyRule::Use::only, "false", equals<false>}},
    .complete = complete,
    .gguf = {.architecture = "gemma"},
});

}  // namespace normtweak::model
