#include "normtweak/model/read_rotary.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "normtweak/base/error.h"
#include "normtweak/model/hyperparameters.h"

namespace normtweak::model {
namespace {

// Below a base of 1 frequencies would grow along the head; beyond 1e30 F32 would overflow.
constexpr Range kBases = {1, 1e30};
constexpr Range kFactors = {1e-6, 1e6};
constexpr Range kFrequencyFactors = {1e-6, 1e6};
constexpr Range kOriginalContexts = {1, 2147483648};

constexpr std::string_view kOriginalContext = "original_max_position_embeddings";

// As Python takes an object for true.
bool counts(const ConfigValues& values, std::string_view key) {
  if (!values.has(key)) return false;
  const auto& value = values.at(key);
  return value != false && value != 0 && value != "" && !(value.is_structured() && value.empty());
}

// In transformers, one beside the rotary settings has priority; without any, the context takes its place.
double original_context(const ConfigValues& outside, const ConfigValues& settings, std::int64_t context) {
  const bool beside = outside.has(kOriginalContext);
  if (!beside && !settings.has(kOriginalContext)) return static_cast<double>(context);
  return (beside ? outside : settings).number(kOriginalContext, kOriginalContexts);
}

// transformers' LLaMA rotates whole heads: it ignores the key without a scaling and fails with one.
void check_partial(const ConfigValues& values, RotaryScaling::Kind kind) {
  constexpr std::string_view kPartial = "partial_rotary_factor";
  if (!values.has(kPartial) || values.at(kPartial) == 1) return;
  const auto shown = show(values.at(kPartial));
  if (kind != RotaryScaling::Kind::none) {
    fail("{}: {} is {}; only whole heads are rotated, for which it is 1", values.origin(), values.name(kPartial),
         shown);
  }
  values.note(fmt::format("{} is {}, which has no effect here; whole heads are rotated", values.name(kPartial), shown));
}

void note_unread(const ConfigValues& settings, RotaryScaling::Kind kind) {
  using Kind = RotaryScaling::Kind;
  std::set<std::string_view> read = {"rope_type", "type", "rope_theta", "partial_rotary_factor"};
  if (kind != Kind::none) read.insert("factor");
  if (kind != Kind::none && kind != Kind::linear && kind != Kind::dynamic) read.insert(kOriginalContext);
  if (kind == Kind::llama3) read.insert({"low_freq_factor", "high_freq_factor"});
  if (kind == Kind::yarn) {
    read.insert({"beta_fast", "beta_slow", "mscale", "mscale_all_dim", "attention_factor", "truncate"});
  }
  if (kind == Kind::longrope) read.insert({"short_factor", "long_factor", "attention_factor"});
  for (const auto& [key, value] : settings.object().items()) {
    const bool adds_nothing = value.is_null() || (kind == Kind::none && value == 1);
    if (!read.contains(key) && !adds_nothing) {
      return settings.note(fmt::format("{} has no effect on this kind of rotary scaling", settings.name(key)));
    }
  }
}

void read_llama3(const ConfigValues& settings, RotaryScaling& scaling) {
  scaling.low_frequency = settings.number("low_freq_factor", kFrequencyFactors);
  scaling.high_frequency = settings.number("high_freq_factor", kFrequencyFactors);
  if (scaling.low_frequency < scaling.high_frequency) return;
  fail("{}: {} is {:g}, less than {}, {:g}, is needed", settings.origin(), settings.name("low_freq_factor"),
       scaling.low_frequency, settings.name("high_freq_factor"), scaling.high_frequency);
}

// arXiv 2309.00071, with the attention factor that it suggests.
void read_yarn(const ConfigValues& settings, RotaryScaling& scaling) {
  const auto optional = [&](std::string_view key, double fallback) {
    return settings.has(key) && settings.at(key) != 0 ? settings.number(key, kFactors) : fallback;
  };
  const auto scale = [&](double by) { return scaling.factor <= 1 ? 1.0 : 0.1 * by * std::log(scaling.factor) + 1.0; };
  scaling.beta_fast = optional("beta_fast", 32);
  scaling.beta_slow = optional("beta_slow", 1);
  scaling.truncate = settings.flag("truncate", true);
  const auto all = optional("mscale_all_dim", 0), some = optional("mscale", 0);
  scaling.attention_factor = optional("attention_factor", all != 0 && some != 0 ? scale(some) / scale(all) : scale(1));
}

std::vector<double> read_factors(const ConfigValues& settings, std::string_view key, std::int64_t count) {
  const auto& list = settings.at(key);
  const auto refuse = [&] {
    fail("{}: {} is {}, a list of {} positive numbers is needed", settings.origin(), settings.name(key), show(list),
         count);
  };
  if (!list.is_array() || static_cast<std::int64_t>(list.size()) != count) refuse();
  std::vector<double> factors;
  for (const auto& entry : list) {
    if (!entry.is_number() || !(entry.get<double>() > 0)) refuse();
    factors.push_back(entry.get<double>());
  }
  return factors;
}

// arXiv 2402.13753, as Phi-3 uses it.
void read_longrope(const ConfigValues& settings, std::int64_t size, std::int64_t context, RotaryScaling& scaling) {
  scaling.short_factors = read_factors(settings, "short_factor", size / 2);
  scaling.long_factors = read_factors(settings, "long_factor", size / 2);
  const double longer =
      settings.has("factor") ? scaling.factor : static_cast<double>(context) / scaling.original_context;
  const double suggested =
      longer <= 1 ? 1 : std::sqrt(1 + std::log(longer) / std::log(std::max(2.0, scaling.original_context)));
  scaling.attention_factor =
      settings.has("attention_factor") ? settings.number("attention_factor", kFactors) : suggested;
}

RotaryScaling read_scaling(const ConfigValues& outside, const ConfigValues& settings, std::int64_t size,
                           std::int64_t context) {
  using Kind = RotaryScaling::Kind;
  constexpr std::array<std::pair<std::string_view, Kind>, 7> kKinds = {{{"default", Kind::none},
                                                                        {"linear", Kind::linear},
                                                                        {"dynamic", Kind::dynamic},
                                                                        {"llama3", Kind::llama3},
                                                                        {"yarn", Kind::yarn},
                                                                        {"longrope", Kind::longrope},
                                                                        {"su", Kind::longrope}}};  // its first name
  const auto name = settings.has("rope_type") ? settings.text("rope_type")
                    : settings.has("type")    ? settings.text("type")
                                              : "default";
  const auto* const found = std::ranges::find(kKinds, name, &std::pair<std::string_view, Kind>::first);
  if (found == kKinds.end()) {
    fail("{}: rotary scaling {} is not supported; supported are default, linear, dynamic, llama3, yarn, longrope",
         settings.origin(), show(name));
  }
  RotaryScaling scaling;
  scaling.kind = found->second;
  if (scaling.kind == Kind::none) return scaling;
  if (scaling.kind != Kind::longrope || settings.has("factor")) scaling.factor = settings.number("factor", kFactors);
  if (scaling.factor < 1) {
    settings.note(fmt::format("{} is {:g}; below 1 it shortens the context", settings.name("factor"), scaling.factor));
  }
  if (scaling.kind == Kind::linear) return scaling;
  scaling.original_context =
      scaling.kind == Kind::dynamic ? static_cast<double>(context) : original_context(outside, settings, context);
  if (scaling.kind == Kind::llama3) read_llama3(settings, scaling);
  if (scaling.kind == Kind::yarn) read_yarn(settings, scaling);
  if (scaling.kind == Kind::longrope) read_longrope(settings, size, context, scaling);
  return scaling;
}

// The rotated channels of a head.
std::int64_t read_size(const ConfigValues& values, const ConfigValues& settings, const Family& family,
                       const ModelConfig& config) {
  const auto& facts = family.rotary;
  auto size = static_cast<std::int64_t>(static_cast<double>(config.head_size) * facts.share);
  std::string name = values.name(key_of(family, &ModelConfig::head_size));
  if (!facts.size_key.empty() && values.has(facts.size_key)) {
    size = values.count(facts.size_key, {0, static_cast<double>(config.head_size)});
    name = values.name(facts.size_key);
  } else if (!facts.share_key.empty()) {
    constexpr std::string_view kShare = "partial_rotary_factor";  // of transformers 5, in rope_parameters
    const bool inside = &settings != &values && settings.has(kShare);
    const auto key = inside ? kShare : facts.share_key;
    const auto& from = inside ? settings : values;
    if (from.has(key)) {
      size = static_cast<std::int64_t>(static_cast<double>(config.head_size) * from.number(key, {0, 1}));
      name = from.name(key);
    }
  }
  if (size % 2 == 0) return size;
  fail("{}: {} is {}; rotary positions need an even size", values.origin(), name,
       facts.share_key.empty() && facts.size_key.empty() ? config.head_size : size);
}

// outside: the config; settings: the object that describes this rotary embedding, or the config itself.
Rotary read_one(const ConfigValues& outside, const ConfigValues& settings, const Family& family,
                const ModelConfig& config) {
  const bool nested = &outside != &settings;
  Rotary rotary;
  rotary.interleaved = family.rotary.interleaved;
  rotary.base = family.rotary.base;
  const bool inside = nested && settings.has("rope_theta");
  if (inside) {
    rotary.base = settings.number("rope_theta", kBases);
  } else if (outside.has(family.rotary.base_key)) {
    rotary.base = outside.number(family.rotary.base_key, kBases);
  }
  rotary.size = read_size(outside, settings, family, config);
  if (nested) rotary.scaling = read_scaling(outside, settings, rotary.size, config.context);
  if (family.rotary.share_key.empty()) {
    check_partial(settings.has("partial_rotary_factor") ? settings : outside, rotary.scaling.kind);
  }
  if (nested) note_unread(settings, rotary.scaling.kind);
  return rotary;
}

// Whether the settings are given for each type of layer.
bool is_by_layer_type(const ConfigValues& settings) {
  return std::ranges::any_of(settings.object(), [](const Json& value) { return value.is_object(); });
}

void note_other_base(const ConfigValues& values, const ConfigValues& settings, std::string_view base_key) {
  if (!settings.has("rope_theta") || !values.has(base_key) || values.at(base_key) == settings.at("rope_theta")) return;
  values.note(fmt::format("{} is used, as in transformers, and `{}` beside it has no effect",
                          settings.name("rope_theta"), base_key));
}

// Full attention has the first of the two settings, attention in windows the second.
void read_by_layer_type(const ConfigValues& values, const ConfigValues& settings, const Family& family,
                        ModelConfig& config) {
  if (family.window.key.empty()) {
    for (const auto& [key, value] : settings.object().items()) {
      if (!value.is_object()) continue;
      fail("{}: {} is an object; rotary settings for each type of layer are not supported in this family",
           settings.origin(), settings.name(key));
    }
  }
  for (const auto& [key, value] : settings.object().items()) {
    if (key == "full_attention" || key == "sliding_attention" || value.is_null()) continue;
    fail("{}: {} is not supported; full_attention and sliding_attention are", settings.origin(), settings.name(key));
  }
  for (const auto* const type : {"full_attention", "sliding_attention"}) {
    config.rotary.push_back(read_one(values, settings.inner(type), family, config));
  }
  for (auto& layer : config.layer_facts) layer.rotary = layer.window > 0 ? 1 : 0;
}

}  // namespace

void read_rotary(const ConfigValues& values, const Family& family, ModelConfig& config) {
  for (auto& layer : config.layer_facts) layer.rotary = 0;
  values.has(kOriginalContext);  // has no effect without a scaling
  // `rope_scaling`, of transformers 4, has priority. Whatever `rope_parameters` says beside it is dropped.
  const bool old = counts(values, "rope_scaling"), both = old && counts(values, "rope_parameters");
  if (!old && !counts(values, "rope_parameters")) {
    config.rotary.push_back(read_one(values, values, family, config));
    return;
  }
  const auto settings = values.inner(old ? "rope_scaling" : "rope_parameters");
  if (both && values.at("rope_scaling") != values.at("rope_parameters")) {
    values.note("`rope_scaling` is used, as in transformers, and `rope_parameters` beside it has no effect");
  }
  if (is_by_layer_type(settings)) return read_by_layer_type(values, settings, family, config);
  note_other_base(values, settings, family.rotary.base_key);
  config.rotary.push_back(read_one(values, settings, family, config));
}

}  // namespace normtweak::model
