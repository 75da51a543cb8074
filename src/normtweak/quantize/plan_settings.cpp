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

int parse_activation_bits(std::string_view text) {
  const auto bits = parse_count(text);
  if (bits != 4 && bits != 8 && bits != LinearPlan::kFloatActivations) fail("{} bits: use 4, 8 or 16", bits);
  return bits;
}

std::string parse_activation_scale(std::string_view text) {
  if (text != "token" && text != "tensor") fail("'{}' is neither token nor tensor", text);
  return std::string(text);
}

std::string parse_block_type(std::string_view text) { return std::string(find_block_type(text).name); }

bool uses_groups(const LinearPlan& plan) { return find_quantizer(plan.method).uses_groups; }

bool searches_grid(const LinearPlan& plan) { return find_quantizer(plan.method).searches_grid; }

bool learns_rounding(const LinearPlan& plan) { return find_quantizer(plan.method).learns_rounding; }

// With feedback, codebooks are fitted by the factor of the Hessian instead.
bool takes_sensitivity(const LinearPlan& plan) { return has_codebooks(plan) && !feeds_back(plan); }

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
    row<&LinearPlan::block_type, parse_block_type>({.name = "type", .option = "", .read_by = &uses_groups}),
    row<&LinearPlan::bits, parse_bits>({.name = "bits",
                                        .option = "--bits",
                                        .kind = ValueKind::choice,
                                        .help = "Bits per code",
                                        .choices = "2,3,4,6,8",
                                        .read_by = &has_free_bits,
                                        .of_affine_grids = true}),
    row<&LinearPlan::group_size, parse_count>(
        {.name = "group",
         .option = "--group-size",
         .kind = ValueKind::number,
         .help = "Input columns that share a scale; 0: the whole row (default: the largest of 128, 64, 32 and 16 that "
                 "divides the columns of all linears)",
         .bounds = kCount,
         .read_by = &uses_groups,
         .of_affine_grids = true}),
    row<&LinearPlan::symmetric, parse_switch>(
        {.name = "symmetric",
         .option = "--symmetric",
         .kind = ValueKind::on_off,
         .help = "Symmetric quantization: zero-points fixed at the middle code, not stored",
         .read_by = &uses_groups,
         .of_affine_grids = true}),
    row<&LinearPlan::float_zeros, parse_switch>(
        {.name = "float-zeros",
         .option = "--float-zeros",
         .kind = ValueKind::on_off,
         .help = "Float zero-points in the dtype of the scales, tuned by the tweak; only normtweak reads such a "
                 "checkpoint",
         .read_by = &uses_groups,
         .of_affine_grids = true}),
    row<&LinearPlan::search_grid, parse_switch>(
        {.name = "search-grid",
         .option = "--search-grid",
         .kind = ValueKind::method_off,
         .help = "Shrink each group's range to minimise the sum of |error|^2.4 (default: on for linears that gptq "
                 "quantizes)",
         .read_by = &searches_grid,
         .of_affine_grids = true}),
    row<&LinearPlan::codebook_group, parse_count>(
        {.name = "codebook-group",
         .option = "--codebook-group",
         .kind = ValueKind::number,
         .help = "kmeans: input columns that share a codebook; 0: the whole row",
         .bounds = kCount,
         .read_by = &has_codebooks}),
    row<&LinearPlan::sensitivity, parse_switch>(
        {.name = "sensitivity",
         .option = "--sensitivity",
         .kind = ValueKind::on_off,
         .help = "kmeans without --feedback: weight columns by the Hessian's diagonal",
         .read_by = &takes_sensitivity}),
    row<&LinearPlan::feedback, parse_switch>(
        {.name = "feedback",
         .option = "--feedback",
         .kind = ValueKind::method_off,
         .help = "kmeans: round column by column as gptq does, with its drift correction, order, damping and sweeps "
                 "(default: off)",
         .read_by = &has_codebooks}),
    row<&LinearPlan::act_order, parse_switch>(
        {.name = "act-order",
         .option = "--act-order",
         .kind = ValueKind::method_off,
         .help = "gptq, kmeans --feedback: round columns in order of decreasing Hessian diagonal, with static groups, "
                 "no g_idx (default: on)",
         .read_by = &feeds_back}),
    row<&LinearPlan::sweeps, parse_count>(
        {.name = "sweeps",
         .option = "--sweeps",
         .kind = ValueKind::number,
         .help = "gptq, kmeans --feedback: coordinate-descent sweeps afterwards, each refitting scales or codebooks, "
                 "then codes; 0: GPTQ as published (default: 2)",
         .bounds = kCount,
         .read_by = &feeds_back}),
    row<&LinearPlan::damping, parse_share>(
        {.name = "damping",
         .option = "--damping",
         .kind = ValueKind::number,
         .help = "gptq, kmeans --feedback: added to the Hessian's diagonal, as a share of its mean",
         .bounds = kShare,
         .read_by = &feeds_back}),
    row<&LinearPlan::signround_iterations, parse_count>({.name = "iterations",
                                                         .option = "--signround-iterations",
                                                         .kind = ValueKind::number,
                                                         .help = "signround: steps for each block",
                                                         .bounds = kCount,
                                                         .read_by = &learns_rounding}),
    row<&LinearPlan::signround_rate, parse_share>(
        {.name = "rate",
         .option = "--signround-rate",
         .kind = ValueKind::number,
         .help = "signround: first step of rounding offsets and range shares; falls to 0 (default: 1 / iterations)",
         .bounds = kShare,
         .read_by = &learns_rounding}),
    row<&LinearPlan::scale_type, parse_float_type>({.name = "scale-type", .option = "", .of_affine_grids = true}),
    row<&LinearPlan::activation_bits, parse_activation_bits>(
        {.name = "activation-bits",
         .option = "--activation-bits",
         .kind = ValueKind::choice,
         .help = "Round the inputs of quantized linears to so many bits, in the passes of this program and of who "
                 "serves the result; 16: leave them float. With --method fp8, 8 rounds them to FP8",
         .choices = "4,8,16"}),
    row<&LinearPlan::activation_scale, parse_activation_scale>(
        {.name = "activation-scale",
         .option = "--activation-scale",
         .kind = ValueKind::choice,
         .help = "What shares the range of a rounded input: each token has its own (dynamic), or the tensor of all "
                 "tokens has one, observed on the calibration text (static)",
         .choices = "token,tensor",
         .of_activations = true}),
    row<&LinearPlan::asymmetric_activations, parse_switch>(
        {.name = "activation-asymmetric",
         .option = "--activation-asymmetric",
         .kind = ValueKind::on_off,
         .help = "Ranges of rounded inputs from their least to their largest value, with a zero-point",
         .of_activations = true}),
};

}  // namespace

std::span<const PlanSetting> plan_settings() { return kSettings; }

const PlanSetting& find_plan_setting(std::string_view name) {
  const auto* setting = std::ranges::find(kSettings, name, &PlanSetting::name);
  if (setting == kSettings.end()) {
    // They are too many for one line.
    fail("'{}' is not a setting; the help of `quantize` lists them with --rule, and skip stands alone", name);
  }
  return *setting;
}

std::string rule_keys() {
  std::string names;
  for (const auto& setting : kSettings) names += (names.empty() ? "" : ", ") + std::string(setting.name);
  return names;
}

bool reads(const LinearPlan& plan, const PlanSetting& setting) {
  if (setting.of_activations && !activation_settings(plan)) return false;
  if (setting.of_affine_grids && !plan.block_type.empty()) return false;
  return setting.read_by == nullptr || setting.read_by(plan);
}

LinearPlan with_resolved_options(const LinearPlan& plan) {
  auto resolved = plan;
  const auto options = resolved_options(plan);
  resolved.search_grid = options.search_grid;
  resolved.feedback = options.feedback;
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
