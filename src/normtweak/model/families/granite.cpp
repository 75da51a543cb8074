// Granite: LLaMA with factors of embedding, attention, residual stream and logits.
#include <algorithm>
#include <cmath>

#include "normtweak/model/config_values.h"
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/gguf_sizes.h"
#include "normtweak/model/families/shared_rows.h"
#include "normtweak/model/gguf_keys.h"
#include "normtweak/model/gguf_metadata.h"

namespace normtweak::model {
namespace {

constexpr std::string_view kLogitDivisor = "logits_scaling";
constexpr Range kFactors = {1e-6, 1e6};

void complete(const ConfigValues& values, ModelConfig& config) {
  if (values.has(kLogitDivisor)) config.logit_scale = 1 / values.number(kLogitDivisor, kFactors);
}

// Without its scale, or with 0, llama.cpp divides scores by the root of the head's size, as in LLaMA.
void complete_from_gguf(const GgufMetadata& metadata, Json& config) {
  const auto* scale = metadata.find("attention.scale");
  if (scale == nullptr || *scale == 0) {
    const auto size = whole_number(config.value("head_dim", Json())).value_or(hidden_per_head(config));
    config["attention_multiplier"] = 1 / std::sqrt(static_cast<double>(std::max<std::int64_t>(size, 1)));
  }
  if (const auto* divisor = metadata.find("logit_scale")) config[std::string(kLogitDivisor)] = *divisor;
}

void add_keys(const ModelConfig& config, GgufArchitectureKeys& keys) {
  keys.put("logit_scale", 1 / config.logit_scale);  // the divisor
}

}  // namespace

const Family kGranite = like_llama({
    .name = "granite",
    .architectures = {"GraniteForCausalLM"},
    .numbers = {{&ModelConfig::context, {}, {}, 2048},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-6},
                {&ModelConfig::intermediate, {}, {}, 11008},
                {&ModelConfig::query_key_value_bias, "attention_bias"},
                {&ModelConfig::attention_output_bias, "attention_bias"},
                {&ModelConfig::mlp_bias, "mlp_bias"},
                {&ModelConfig::attention_scale, "attention_multiplier", "attention.scale", 1, kFactors},
                {&ModelConfig::embedding_scale, "embedding_multiplier", "embedding_scale", 1, kFactors},
                {&ModelConfig::residual_scale, "residual_multiplier", "residual_scale", 1, kFactors}},
    .complete = complete,
    .gguf = {.architecture = "granite",
             .rotary_permuted = true,
             .known_keys = {"logit_scale"},
             .complete = complete_from_gguf,
             .add_keys = add_keys},
});

}  // namespace normtweak::model
