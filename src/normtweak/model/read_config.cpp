#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <optional>
#include <utility>

#include "normtweak/base/device.h"
#include "normtweak/base/error.h"
#include "normtweak/model/family.h"

namespace normtweak::model {
namespace {

// Larger than any model; below this, no product of two or three sizes can overflow.
constexpr std::int64_t kLargestSize = 1 << 24, kMostLayers = 1 << 11, kLongestContext = std::int64_t{1} << 31;

// 4096, or 4096.0 as some tools write it.
std::optional<std::int64_t> whole_number(const Json& value) {
  constexpr double kExact = 9007199254740992;  // 2^53: every integer below is exact in a double
  if (value.is_number_unsigned() && value.get<std::uint64_t>() >> 63 != 0) return std::nullopt;
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const auto number = value.get<double>();
  const bool is_whole = std::abs(number) <= kExact && number == std::floor(number);  // false for NaN
  return is_whole ? std::optional(static_cast<std::int64_t>(number)) : std::nullopt;
}

// Reads keys of one JSON object with errors that name the file and the key.
class Keys {
 public:
  Keys(const Json& object, std::string_view origin) : object_(object), origin_(origin) {}

  bool has(std::string_view key) const { return !key.empty() && object_.contains(key) && !object_.at(key).is_null(); }

  template <class T>
  T required(std::string_view key) const {
    if (!has(key)) fail("{}: `{}` is missing", origin_, key);
    try {
      return object_.at(key).get<T>();
    } catch (const Json::exception&) {
      fail("{}: `{}` is {}, which is of the wrong type", origin_, key, show(object_.at(key)));
    }
  }

  template <class T>
  T optional(std::string_view key, T fallback) const {
    return has(key) ? required<T>(key) : fallback;
  }

  std::int64_t positive(std::string_view key, std::int64_t most = kLargestSize) const {
    const auto given = required<Json>(key);
    const auto value = whole_number(given);
    if (!value || *value <= 0 || *value > most) {
      fail("{}: `{}` is {}, a whole number from 1 to {} is needed", origin_, key, show(given), most);
    }
    return *value;
  }

  const Json& object() const { return object_; }
  std::string_view origin() const { return origin_; }

 private:
  const Json& object_;
  std::string_view origin_;
};

Activation read_activation(const Keys& keys, std::string_view key, std::string_view fallback) {
  constexpr std::array<std::pair<std::string_view, Activation>, 7> names = {{
      {"silu", Activation::silu},
      {"swish", Activation::silu},
      {"gelu", Activation::gelu},
      {"gelu_new", Activation::gelu_tanh},
      {"gelu_pytorch_tanh", Activation::gelu_tanh},
      {"gelu_fast", Activation::gelu_tanh},
      {"relu", Activation::relu},
  }};
  const auto name = keys.optional<std::string>(key, std::string(fallback));
  for (const auto& [known, activation] : names) {
    if (name == known) return activation;
  }
  fail("{}: `{}` is {}, which is not supported; supported are silu, gelu, gelu_new, gelu_pytorch_tanh, relu",
       keys.origin(), key, name);
}

RotaryScaling read_rotary_scaling(const Keys& keys) {
  const auto kind = keys.optional<std::string>("rope_type", keys.optional<std::string>("type", "default"));
  RotaryScaling scaling;
  if (kind == "default") return scaling;
  scaling.factor = keys.required<double>("factor");
  if (kind == "linear") {
    scaling.kind = RotaryScaling::Kind::linear;
  } else if (kind == "llama3") {
    scaling.kind = RotaryScaling::Kind::llama3;
    scaling.low_frequency = keys.required<double>("low_freq_factor");
    scaling.high_frequency = keys.required<double>("high_freq_factor");
    scaling.original_context = keys.required<double>("original_max_position_embeddings");
  } else {
    fail("{}: rotary scaling {} is not supported; supported are default, linear, llama3", keys.origin(), kind);
  }
  return scaling;
}

// Two spellings: `rope_theta` beside `rope_scaling`, or both inside `rope_parameters`.
void read_rotary(const Keys& keys, ModelConfig& config) {
  config.rotary_base = keys.optional<double>("rope_theta", 10000);
  for (const auto* spelling : {"rope_parameters", "rope_scaling"}) {
    if (!keys.has(spelling)) continue;
    if (!keys.object().at(spelling).is_object()) fail("{}: `{}` is no object", keys.origin(), spelling);
    const Keys inner(keys.object().at(spelling), keys.origin());
    config.rotary_base = inner.optional<double>("rope_theta", config.rotary_base);
    config.rotary_scaling = read_rotary_scaling(inner);
    return;
  }
}

std::int64_t read_head_size(const Keys& keys, const Family& family, const ModelConfig& config) {
  const auto& names = family.keys;
  if (!keys.has(names.head_size)) {
    if (config.hidden % config.heads == 0) return config.hidden / config.heads;
    fail("{}: `{}` is {}, which does not divide `{}`, {}", keys.origin(), names.heads, config.heads, names.hidden,
         config.hidden);
  }
  return keys.positive(names.head_size);
}

at::ScalarType read_stored_type(const Keys& keys) {
  for (const auto* spelling : {"dtype", "torch_dtype"}) {
    if (!keys.has(spelling)) continue;
    const auto name = keys.required<std::string>(spelling);
    try {
      return parse_float_type(name);
    } catch (const Error& error) {
      fail("{}: `{}`: {}", keys.origin(), spelling, error.what());
    }
  }
  return at::kFloat;
}

bool read_bias(const Keys& keys, const BiasFact& fact) { return keys.optional<bool>(fact.key, fact.fallback); }

}  // namespace

ModelConfig read_config(const Family& family, const Json& json, std::string_view origin) {
  const Keys keys(json, origin);
  const auto& names = family.keys;
  ModelConfig config;
  config.hidden = keys.positive(names.hidden);
  config.layers = keys.positive(names.layers, kMostLayers);
  config.heads = keys.positive(names.heads);
  config.key_value_heads = keys.has(names.key_value_heads) ? keys.positive(names.key_value_heads) : config.heads;
  config.head_size = read_head_size(keys, family, config);
  config.intermediate = keys.has(names.intermediate) ? keys.positive(names.intermediate) : 4 * config.hidden;
  config.vocabulary = keys.positive("vocab_size");
  const auto& fallbacks = family.fallbacks;
  config.context = keys.has(names.context) ? keys.positive(names.context, kLongestContext) : fallbacks.context;
  config.norm_epsilon = keys.optional<double>(names.norm_epsilon, fallbacks.norm_epsilon);
  config.activation = read_activation(keys, names.activation, fallbacks.activation);
  if (family.position == Position::rotary) read_rotary(keys, config);
  config.tied_head = keys.optional<bool>("tie_word_embeddings", family.tied_head_fallback);
  config.query_key_value_bias = read_bias(keys, family.query_key_value_bias);
  config.attention_output_bias = read_bias(keys, family.attention_output_bias);
  config.mlp_bias = read_bias(keys, family.mlp_bias);
  config.stored_type = read_stored_type(keys);
  for (const auto& required : family.required_switches) {
    if (keys.optional<bool>(required.key, required.value) != required.value) {
      fail("{}: `{}` is {}, which is not supported", origin, required.key, !required.value);
    }
  }
  if (family.position == Position::rotary && config.head_size % 2 != 0) {
    fail("{}: `{}` is {}; rotary positions need an even size", origin, names.head_size, config.head_size);
  }
  if (config.heads % config.key_value_heads != 0) {
    fail("{}: {} heads cannot share {} key-value heads", origin, config.heads, config.key_value_heads);
  }
  return config;
}

}  // namespace normtweak::model
