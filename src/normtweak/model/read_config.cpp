#include <array>
#include <cmath>
#include <utility>

#include "normtweak/base/device/device.h"
#include "normtweak/base/error.h"
#include "normtweak/model/config_keys.h"
#include "normtweak/model/config_values.h"
#include "normtweak/model/hyperparameters.h"
#include "normtweak/model/read_rotary.h"

namespace normtweak::model {
namespace {

Activation read_activation(const ConfigValues& values, const ActivationFact& fact) {
  constexpr std::array<std::pair<std::string_view, Activation>, 10> kNames = {{
      {"silu", Activation::silu},
      {"swish", Activation::silu},
      {"gelu", Activation::gelu},
      {"gelu_python", Activation::gelu},
      {"gelu_new", Activation::gelu_tanh},
      {"gelu_pytorch_tanh", Activation::gelu_tanh},
      {"gelu_python_tanh", Activation::gelu_tanh},
      {"gelu_fast", Activation::gelu_tanh},
      {"gelu_accurate", Activation::gelu_tanh},
      {"relu", Activation::relu},
  }};
  const auto key = fact.key;
  const auto name = values.has(key) ? values.text(key) : std::string(fact.fallback);
  for (const auto& [known, activation] : kNames) {
    if (name == known) return activation;
  }
  fail("{}: {} is {}, which is not supported; supported are silu, gelu, gelu_new, gelu_pytorch_tanh, relu",
       values.origin(), values.name(key), show(name));
}

void read(const ConfigValues& values, const Hyperparameter& row, ModelConfig& config) {
  const auto key = row.key.value_or("");
  const auto supported = row.supported.value_or(Range());
  const bool is_there = values.has(key);
  const auto& otherwise = row.if_null && values.is_null(key) ? row.if_null : row.fallback;
  if (!is_there && !otherwise) values.at(key);  // says that it is missing
  const auto fallback = [&] {
    return otherwise->value * (otherwise->times == nullptr ? 1.0 : static_cast<double>(config.*otherwise->times));
  };
  if (const auto* count = std::get_if<std::int64_t ModelConfig::*>(&row.field)) {
    config.*(*count) = is_there ? values.count(key, supported) : static_cast<std::int64_t>(fallback());
  } else if (const auto* number = std::get_if<double ModelConfig::*>(&row.field)) {
    config.*(*number) = is_there ? values.number(key, supported) : fallback();
  } else if (const auto* flag = std::get_if<bool ModelConfig::*>(&row.field)) {
    config.*(*flag) = values.flag(key, fallback() != 0);
  }
}

// Sizes that follow from others where the config does not give them.
void derive_sizes(const ConfigValues& values, const Family& family, ModelConfig& config) {
  if (config.embedding == 0) config.embedding = config.hidden;
  if (config.head_size == 0 && config.hidden % config.heads == 0) config.head_size = config.hidden / config.heads;
  if (config.head_size > 0) return;
  fail("{}: {} is {}, which does not divide {}, {}", values.origin(), values.name(key_of(family, &ModelConfig::heads)),
       config.heads, values.name(key_of(family, &ModelConfig::hidden)), config.hidden);
}

// In tokens; 0: none, as false and null say.
std::int64_t read_window(const ConfigValues& values, const WindowFacts& facts) {
  constexpr Range kWindows = {0, 2147483648.0};
  if (!values.has(facts.key)) return values.is_null(facts.key) ? 0 : facts.fallback;
  return values.at(facts.key) == false ? 0 : values.count(facts.key, kWindows);
}

// Which layers attend to a window of tokens: as `layer_types` says, or else the family's rule.
void read_windows(const ConfigValues& values, const Family& family, ModelConfig& config) {
  const auto& facts = family.window;
  config.layer_facts.resize(static_cast<std::size_t>(config.layers));
  if (facts.key.empty()) return;
  const auto window = read_window(values, facts);
  constexpr std::string_view kTypes = "layer_types";
  const Json types = values.has(kTypes) ? values.at(kTypes) : Json();
  if (!types.is_null() && (!types.is_array() || types.size() < config.layer_facts.size())) {
    fail("{}: {} is {}, a list of {} names is needed", values.origin(), values.name(kTypes), show(types),
         config.layers);
  }
  for (std::size_t i = 0; i < config.layer_facts.size(); ++i) {
    if (types.is_null()) {
      const bool applies = facts.applies == nullptr || facts.applies(values, config, static_cast<std::int64_t>(i));
      config.layer_facts[i].window = applies ? window : 0;
    } else if (types[i] == "sliding_attention") {
      if (window == 0) {
        fail("{}: {} has a sliding_attention, but {} gives no window", values.origin(), values.name(kTypes),
             values.name(facts.key));
      }
      config.layer_facts[i].window = window;
    } else if (types[i] != "full_attention") {
      fail("{}: {}[{}] is {}, which is not supported; full_attention and sliding_attention are", values.origin(),
           values.name(kTypes), i, show(types[i]));
    }
  }
}

// torch's names of the dtypes that a config may give. transformers 5 takes them without `torch.` alone, and no `auto`,
// unless the user names a dtype; older ones wrote both.
at::ScalarType parse_stored_type(const ConfigValues& values, std::string_view key) {
  constexpr std::array<std::pair<std::string_view, at::ScalarType>, 7> kNames = {{{"float32", at::kFloat},
                                                                                  {"bfloat16", at::kBFloat16},
                                                                                  {"float16", at::kHalf},
                                                                                  {"float64", at::kDouble},
                                                                                  {"float", at::kFloat},
                                                                                  {"half", at::kHalf},
                                                                                  {"double", at::kDouble}}};
  constexpr std::string_view kPrefix = "torch.";
  const auto name = values.text(key);
  if (name == kAutomatic) return at::kFloat;  // until the weights are known
  const auto plain = std::string_view(name).substr(name.starts_with(kPrefix) ? kPrefix.size() : 0);
  for (const auto& [known, type] : kNames) {
    if (plain == known) return type;
  }
  fail("{}: {} is {}, which is not supported; supported are float32, bfloat16, float16, float64", values.origin(),
       values.name(key), show(name));
}

at::ScalarType read_stored_type(const ConfigValues& values) {
  const bool has_new = values.has("dtype"), has_old = values.has("torch_dtype");
  if (!has_new && !has_old) return at::kFloat;
  const auto* const key = has_new ? "dtype" : "torch_dtype";
  const auto type = parse_stored_type(values, key);
  if (const auto name = values.text(key); name == kAutomatic || name.starts_with("torch.")) {
    values.note(fmt::format("{} is {}, which is read as {}; transformers 5 refuses it unless it is given a dtype",
                            values.name(key), show(name),
                            name == kAutomatic ? "the dtype of the weights" : float_type_name(type)));
  }
  if (has_new && has_old && parse_stored_type(values, "torch_dtype") != type) {
    values.note(fmt::format("`dtype`, {}, is used, as in transformers, and `torch_dtype` beside it has no effect",
                            float_type_name(type)));
  }
  return type;
}

void note_overridden(const ConfigValues& values, const Family& family) {
  for (const auto& [alias, of] : family.aliases) {
    const auto& config = values.object();
    if (!values.has(alias) || !config.contains(of) || config.at(alias) == config.at(of)) continue;
    values.note(fmt::format("`{}`, {}, is used, as in transformers, and `{}` beside it has no effect", alias,
                            show(config.at(alias)), of));
  }
}

void check_heads(const ConfigValues& values, const Family& family, const ModelConfig& config) {
  const auto name = [&](const Hyperparameter::Field& field) { return values.name(key_of(family, field)); };
  if (config.heads % config.key_value_heads != 0) {
    fail("{}: {} is {}, which does not divide {}, {}", values.origin(), name(&ModelConfig::key_value_heads),
         config.key_value_heads, name(&ModelConfig::heads), config.heads);
  }
  if (config.experts_per_token > config.experts) {
    fail("{}: {} is {}, more than {}, {}", values.origin(), name(&ModelConfig::experts_per_token),
         config.experts_per_token, name(&ModelConfig::experts), config.experts);
  }
}

}  // namespace

ModelConfig read_config(const Family& family, const Json& json, std::string_view origin,
                        std::vector<std::string>* notes, const KeyNames& key_names) {
  const ConfigValues values(json, origin, family.aliases, key_names, notes);
  ModelConfig config;
  config.topology = family.topology;
  config.query_key_value_order = family.query_key_value_order;
  config.head_norm = family.head_norm;
  config.position_offset = family.position_offset;
  for (const auto& row : hyperparameters(family)) read(values, row, config);
  derive_sizes(values, family, config);
  if (config.attention_scale == 0) config.attention_scale = 1 / std::sqrt(static_cast<double>(config.head_size));
  config.activation = read_activation(values, family.activation);
  read_windows(values, family, config);
  if (family.position == Position::rotary) read_rotary(values, family, config);
  if (family.complete != nullptr) family.complete(values, config);
  config.stored_type = read_stored_type(values);
  check_heads(values, family, config);
  note_overridden(values, family);
  check_keys(values, family, config);
  return config;
}

}  // namespace normtweak::model
