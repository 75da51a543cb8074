#include "normtweak/model/read_rotary.h"

#include <array>
#include <set>

#include "normtweak/base/error.h"

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

// Scalings for each type of layer, which only models with several types have.
void refuse_nested(const ConfigValues& settings) {
  for (const auto& [key, value] : settings.object().items()) {
    if (!value.is_object()) continue;
    fail("{}: {} is an object; rotary settings for each type of layer are not supported", settings.origin(),
         settings.name(key));
  }
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
  std::set<std::string_view> read = {"rope_type", "type", "rope_theta", "partial_rotary_factor"};
  if (kind != RotaryScaling::Kind::none) read.insert("factor");
  if (kind == RotaryScaling::Kind::llama3) read.insert({"low_freq_factor", "high_freq_factor", kOriginalContext});
  for (const auto& [key, value] : settings.object().items()) {
    const bool adds_nothing = value.is_null() || (kind == RotaryScaling::Kind::none && value == 1);
    if (!read.contains(key) && !adds_nothing) {
      return settings.note(fmt::format("{} has no effect on this kind of rotary scaling", settings.name(key)));
    }
  }
}

RotaryScaling read_scaling(const ConfigValues& outside, const ConfigValues& settings, std::int64_t context) {
  const auto kind = settings.has("rope_type") ? settings.text("rope_type")
                    : settings.has("type")    ? settings.text("type")
                                              : "default";
  RotaryScaling scaling;
  if (kind == "default") return scaling;
  if (kind != "linear" && kind != "llama3") {
    fail("{}: rotary scaling {} is not supported; supported are default, linear, llama3", settings.origin(),
         show(kind));
  }
  scaling.factor = settings.number("factor", kFactors);
  if (scaling.factor < 1) {
    settings.note(fmt::format("{} is {:g}; below 1 it shortens the context", settings.name("factor"), scaling.factor));
  }
  if (kind == "linear") {
    scaling.kind = RotaryScaling::Kind::linear;
    return scaling;
  }
  scaling.kind = RotaryScaling::Kind::llama3;
  scaling.low_frequency = settings.number("low_freq_factor", kFrequencyFactors);
  scaling.high_frequency = settings.number("high_freq_factor", kFrequencyFactors);
  scaling.original_context = original_context(outside, settings, context);
  if (scaling.low_frequency < scaling.high_frequency) return scaling;
  fail("{}: {} is {:g}, less than {}, {:g}, is needed", settings.origin(), settings.name("low_freq_factor"),
       scaling.low_frequency, settings.name("high_freq_factor"), scaling.high_frequency);
}

}  // namespace

void read_rotary(const ConfigValues& values, ModelConfig& config) {
  // `rope_scaling`, of transformers 4, has priority. Whatever `rope_parameters` says beside it is dropped.
  const bool old = counts(values, "rope_scaling"), both = old && counts(values, "rope_parameters");
  if (!old && !counts(values, "rope_parameters")) {
    if (values.has("rope_theta")) config.rotary_base = values.number("rope_theta", kBases);
    check_partial(values, RotaryScaling::Kind::none);
    return;
  }
  const auto settings = values.inner(old ? "rope_scaling" : "rope_parameters");
  if (both && values.at("rope_scaling") != values.at("rope_parameters")) {
    values.note("`rope_scaling` is used, as in transformers, and `rope_parameters` beside it has no effect");
  }
  refuse_nested(settings);
  const bool inside = settings.has("rope_theta");
  if (inside || values.has("rope_theta")) {
    config.rotary_base = (inside ? settings : values).number("rope_theta", kBases);
  }
  if (inside && values.has("rope_theta") && values.at("rope_theta") != settings.at("rope_theta")) {
    values.note(fmt::format("{} is used, as in transformers, and `rope_theta` beside it has no effect",
                            settings.name("rope_theta")));
  }
  config.rotary_scaling = read_scaling(values, settings, config.context);
  check_partial(settings.has("partial_rotary_factor") ? settings : values, config.rotary_scaling.kind);
  note_unread(settings, config.rotary_scaling.kind);
}

}  // namespace normtweak::model
