#include <array>
#include <utility>

#include "normtweak/base/device/device.h"
#include "normtweak/base/error.h"
#include "normtweak/model/config_keys.h"
#include "normtweak/model/config_values.h"
#include "normtweak/model/read_rotary.h"

namespace normtweak::model {
namespace {

// Larger than any model; below this, no product of two or three sizes can overflow.
constexpr std::int64_t kLargestSize = 1 << 24, kMostLayers = 1 << 11, kLongestContext = std::int64_t{1} << 31;
constexpr Range kEpsilons = {1e-38, 1};  // the least is a normal number in F32

Activation read_activation(const ConfigValues& values, std::string_view key, std::string_view fallback) {
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
  const auto name = values.has(key) ? values.text(key) : std::string(fallback);
  for (const auto& [known, activation] : kNames) {
    if (name == known) return activation;
  }
  fail("{}: {} is {}, which is not supported; supported are silu, gelu, gelu_new, gelu_pytorch_tanh, relu",
       values.origin(), values.name(key), show(name));
}

std::int64_t read_head_size(const ConfigValues& values, const Family& family, const ModelConfig& config) {
  const auto& names = family.keys;
  if (values.has(names.head_size)) return values.count(names.head_size, kLargestSize);
  if (config.hidden % config.heads == 0) return config.hidden / config.heads;
  fail("{}: {} is {}, which does not divide {}, {}", values.origin(), values.name(names.heads), config.heads,
       values.name(names.hidden), config.hidden);
}

std::int64_t read_intermediate(const ConfigValues& values, const Family& family, const ModelConfig& config) {
  const auto times = family.fallbacks.intermediate;
  if (times > 0 && !values.has(family.keys.intermediate)) return times * config.hidden;
  return values.count(family.keys.intermediate, kLargestSize);
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

bool read_bias(const ConfigValues& values, const BiasFact& fact) { return values.flag(fact.key, fact.fallback); }

void note_overridden(const ConfigValues& values, const Family& family) {
  for (const auto& [alias, of] : family.aliases) {
    const auto& config = values.object();
    if (!values.has(alias) || !config.contains(of) || config.at(alias) == config.at(of)) continue;
    values.note(fmt::format("`{}`, {}, is used, as in transformers, and `{}` beside it has no effect", alias,
                            show(config.at(alias)), of));
  }
}

void check_heads(const ConfigValues& values, const Family& family, const ModelConfig& config) {
  const auto& names = family.keys;
  if (family.position == Position::rotary && config.head_size % 2 != 0) {
    fail("{}: {} is {}; rotary positions need an even size", values.origin(), values.name(names.head_size),
         config.head_size);
  }
  if (config.heads % config.key_value_heads != 0) {
    fail("{}: {} is {}, which does not divide {}, {}", values.origin(), values.name(names.key_value_heads),
         config.key_value_heads, values.name(names.heads), config.heads);
  }
}

}  // namespace

ModelConfig read_config(const Family& family, const Json& json, std::string_view origin,
                        std::vector<std::string>* notes, const KeyNames& key_names) {
  const ConfigValues values(json, origin, family.aliases, key_names, notes);
  const auto& names = family.keys;
  const auto& fallbacks = family.fallbacks;
  ModelConfig config;
  config.hidden = values.count(names.hidden, kLargestSize);
  config.layers = values.count(names.layers, kMostLayers);
  config.heads = values.count(names.heads, kLargestSize);
  config.key_value_heads =
      values.has(names.key_value_heads) ? values.count(names.key_value_heads, kLargestSize) : config.heads;
  config.head_size = read_head_size(values, family, config);
  config.intermediate = read_intermediate(values, family, config);
  config.vocabulary = values.count("vocab_size", kLargestSize);
  config.context = values.has(names.context) ? values.count(names.context, kLongestContext) : fallbacks.context;
  config.norm_epsilon =
      values.has(names.norm_epsilon) ? values.number(names.norm_epsilon, kEpsilons) : fallbacks.norm_epsilon;
  config.activation = read_activation(values, names.activation, fallbacks.activation);
  if (family.position == Position::rotary) read_rotary(values, config);
  config.tied_head = values.flag("tie_word_embeddings", family.tied_head_fallback);
  config.query_key_value_bias = read_bias(values, family.query_key_value_bias);
  config.attention_output_bias = read_bias(values, family.attention_output_bias);
  config.mlp_bias = read_bias(values, family.mlp_bias);
  config.stored_type = read_stored_type(values);
  check_heads(values, family, config);
  note_overridden(values, family);
  check_keys(values, family, config);
  return config;
}

}  // namespace normtweak::model
