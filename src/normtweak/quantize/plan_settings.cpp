#include "normtweak/quantize/plan_settings.h"

#include <algorithm>
#include <array>
#include <type_traits>

#include "normtweak/base/device/device.h"
#include "normtweak/base/error.h"
#include "normtweak/quantize/block_search.h"
#include "normtweak/quantize/checks.h"

namespace normtweak::quantize {
namespace {

bool parse_switch(std::string_view text) {
  if (text.empty() || text == "true" || text == "on" || text == "1") return true;
  if (text == "false" || text == "off" || text == "0") return false;
  fail("'{}' is neither true nor false", text);
}

int parse_count(std::string_view text) { return count_within(text, kCount); }

int parse_bits(std::string_view text) {
  const auto bits = parse_count(text);
  check_bits(bits);
  return bits;
}

double parse_share(std::string_view text) { return number_within(text, kShare); }

std::string parse_block_type(std::string_view text) { return std::string(find_block_type(text).name); }

std::string parse_method(std::string_view text) { return std::string(find_quantizer(text).name); }

template <class Value>
Json json_of(const Value& value) {
  if constexpr (std::is_same_v<Value, at::ScalarType>) {
    return float_type_name(value);
  } else {
    return value;
  }
}

template <class Value>
Json json_of(const std::optional<Value>& value) {
  return value ? Json(*value) : Json();
}

// A row whose value is the field `field`, and what `read` makes of a text.
template <auto field, auto read>
constexpr PlanSetting row(PlanSetting setting) {
  setting.set = [](LinearPlan& plan, std::string_view value) { plan.*field = read(value); };
  setting.copy = [](LinearPlan& plan, const LinearPlan& from) { plan.*field = from.*field; };
  setting.value = [](const LinearPlan& plan) { return json_of(plan.*field); };
  return setting;
}

constexpr std::array kSettings = {
    row<&LinearPlan::method, parse_method>({.name = "method", .option = "--method", .help = "Quantization method"}),
    row<&LinearPlan::block_type, parse_block_type>({.name = "type", .option = "", .read_by = &Quantizer::uses_groups}),
    row<&LinearPlan::bits, parse_bits>({.name = "bits",
                                        .option = "--bits",
                                        .kind = ValueKind::choice,
                                        .help = "Bits per code",
                                        .choices = "2,3,4,6,8",
                                        .of_affine_grids = true}),
    row<&LinearPlan::group_size, parse_count>(
        {.name = "group",
         .option = "--group-size",
         .kind = ValueKind::number,
         .help = "Input columns that share a scale; 0: the whole row (default: the largest of 128, 64, 32 and 16 that "
                 "divides the columns of all linears)",
         .bounds = kCount,
         .read_by = &Quantizer::uses_groups,
         .of_affine_grids = true}),
    row<&LinearPlan::symmetric, parse_switch>(
        {.name = "symmetric",
         .option = "--symmetric",
         .kind = ValueKind::on_off,
         .help = "Symmetric quantization: zero-points fixed at the middle code, not stored",
         .read_by = &Quantizer::uses_groups,
         .of_affine_grids = true}),
    row<&LinearPlan::float_zeros, parse_switch>(
        {.name = "float-zeros",
         .option = "--float-zeros",
         .kind = ValueKind::on_off,
         .help = "Float zero-points in the dtype of the scales, tuned by the tweak; only normtweak reads such a "
                 "checkpoint",
         .read_by = &Quantizer::uses_groups,
         .of_affine_grids = true}),
    row<&LinearPlan::search_grid, parse_switch>(
        {.name = "search-grid",
         .option = "--search-grid",
         .kind = ValueKind::method_off,
         .help = "Shrink each group's range to minimise the sum of |error|^2.4 (default: on for linears that gptq "
                 "quantizes)",
         .read_by = &Quantizer::searches_grid,
         .of_affine_grids = true}),
    row<&LinearPlan::act_order, parse_switch>(
        {.name = "act-order",
         .option = "--act-order",
         .kind = ValueKind::method_off,
         .help = "gptq: round columns in order of decreasing Hessian diagonal, with static groups, no g_idx (default: "
                 "on)",
         .read_by = &Quantizer::needs_hessian}),
    row<&LinearPlan::sweeps, parse_count>(
        {.name = "sweeps",
         .option = "--sweeps",
         .kind = ValueKind::number,
         .help = "gptq: coordinate-descent sweeps after GPTQ, each refitting scales, then codes; 0: GPTQ as published "
                 "(default: 2)",
         .bounds = kCount,
         .read_by = &Quantizer::needs_hessian}),
    row<&LinearPlan::sensitivity, parse_switch>({.name = "sensitivity",
                                                 .option = "--sensitivity",
                                                 .kind = ValueKind::on_off,
                                                 .help = "kmeans: weight columns by the Hessian's diagonal",
                                                 .read_by = &Quantizer::uses_sensitivity}),
    row<&LinearPlan::damping, parse_share>({.name = "damping",
                                            .option = "--damping",
                                            .kind = ValueKind::number,
                                            .help = "gptq: added to the Hessian's diagonal, as a share of its mean",
                                            .bounds = kShare,
                                            .read_by = &Quantizer::needs_hessian}),
    row<&LinearPlan::signround_iterations, parse_count>({.name = "iterations",
                                                         .option = "--signround-iterations",
                                                         .kind = ValueKind::number,
                                                         .help = "signround: steps for each block",
                                                         .bounds = kCount,
                                                         .read_by = &Quantizer::learns_rounding}),
    row<&LinearPlan::signround_rate, parse_share>(
        {.name = "rate",
         .option = "--signround-rate",
         .kind = ValueKind::number,
         .help = "signround: first step of rounding offsets and range shares; falls to 0 (default: 1 / iterations)",
         .bounds = kShare,
         .read_by = &Quantizer::learns_rounding}),
    row<&LinearPlan::scale_type, parse_float_type>({.name = "scale-type", .option = "", .of_affine_grids = true}),
};

}  // namespace

std::span<const PlanSetting> plan_settings() { return kSettings; }

const PlanSetting& find_plan_setting(std::string_view name) {
  const auto* setting = std::ranges::find(kSettings, name, &PlanSetting::name);
  if (setting == kSettings.end()) fail("'{}' is not a setting; there are {}, and skip alone", name, rule_keys());
  return *setting;
}

std::string rule_keys() {
  std::string names;
  for (const auto& setting : kSettings) names += (names.empty() ? "" : ", ") + std::string(setting.name);
  return names;
}

bool reads(const LinearPlan& plan, const PlanSetting& setting) {
  if (setting.of_affine_grids && !plan.block_type.empty()) return false;
  return setting.read_by == nullptr || find_quantizer(plan.method).*setting.read_by;
}

LinearPlan with_resolved_options(const LinearPlan& plan) {
  auto resolved = plan;
  const auto options = resolved_options(plan);
  resolved.search_grid = options.search_grid;
  resolved.act_order = options.act_order;
  resolved.sweeps = options.sweeps;
  return resolved;
}

LinearPlan settings_in_effect(const LinearPlan& plan) {
  const auto resolved = with_resolved_options(plan);
  LinearPlan read;
  for (const auto& setting : kSettings) {
    if (reads(plan, setting)) setting.copy(read, resolved);
  }
  return read;
}

}  // namespace normtweak::quantize
