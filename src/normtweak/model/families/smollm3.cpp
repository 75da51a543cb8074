// SmolLM3: LLaMA with some blocks, every fourth as a rule, that do not rotate.
#include "normtweak/base/error.h"
#include "normtweak/model/config_values.h"
#include "normtweak/model/families/families.h"
#include "normtweak/model/families/shared_rows.h"

namespace normtweak::model {
namespace {

constexpr std::string_view kRotated = "no_rope_layers", kInterval = "no_rope_layer_interval";

bool rotates(const ConfigValues& values, std::int64_t layer) {
  if (values.has(kRotated)) {
    const auto& list = values.at(kRotated);
    const bool fits = list.is_array() && layer < static_cast<std::int64_t>(list.size());
    if (!fits)
      fail("{}: {} is {}, a list with a number for each layer is needed", values.origin(), values.name(kRotated),
           show(list));
    return list[static_cast<std::size_t>(layer)] != 0;
  }
  const auto interval = values.has(kInterval) ? values.count(kInterval, {1, 1 << 20}) : 4;
  return (layer + 1) % interval != 0;
}

bool has_window(const ConfigValues& values, const ModelConfig& /*config*/, std::int64_t layer) {
  return values.flag("use_sliding_window", false) && !rotates(values, layer);
}

void complete(const ConfigValues& values, ModelConfig& config) {
  values.has(kInterval);  // the list may say it instead
  values.flag("use_sliding_window", false);
  for (std::size_t i = 0; i < config.layer_facts.size(); ++i) {
    if (!rotates(values, static_cast<std::int64_t>(i))) config.layer_facts[i].rotary = -1;
  }
}

}  // namespace

const Family kSmollm3 = like_llama({
    .name = "smollm3",
    .architectures = {"SmolLM3ForCausalLM"},
    .rotary = {.base = 2000000},
    .window = {.key = "sliding_window", .applies = has_window},
    .numbers = {{&ModelConfig::context, {}, {}, 32768},
                {&ModelConfig::norm_epsilon, {}, {}, 1e-6},
                {&ModelConfig::key_value_heads, {}, {}, 4},
                {&ModelConfig::intermediate, {}, {}, 11008},
                {&ModelConfig::tied_head, {}, {}, 1},
                {&ModelConfig::query_key_value_bias, "attention_bias"},
                {&ModelConfig::attention_output_bias, "attention_bias"},
                {&ModelConfig::mlp_bias, "mlp_bias"}},
    .complete = complete,
    .gguf = {.architecture = "smollm3", .rotary_permuted = true},
});

}  // namespace normtweak::model
