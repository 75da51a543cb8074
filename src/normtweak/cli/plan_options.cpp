#include "normtweak/cli/plan_options.h"

#include <fmt/format.h>

#include "normtweak/cli/choices.h"
#include "normtweak/cli/number_checks.h"

namespace normtweak::cli {
namespace {

using quantize::PlanSetting;
using quantize::ValueKind;

constexpr const char* kGroup = "Quantize";

CLI::Option* add_switch(CLI::App& command, const PlanSetting& setting, std::function<void(const std::string&)> set) {
  const std::string option(setting.option), help(setting.help);
  const auto spelled =
      setting.kind == ValueKind::on_off ? option : fmt::format("{0},!--no-{1}", option, option.substr(2));
  return command
      .add_flag_function(
          spelled, [set = std::move(set)](std::int64_t count) { set(count > 0 ? "true" : "false"); }, help)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

CLI::Option* add_value(CLI::App& command, const PlanSetting& setting, std::function<void(const std::string&)> set) {
  auto* option =
      command.add_option_function<std::string>(std::string(setting.option), std::move(set), std::string(setting.help));
  const auto standard = setting.value(quantize::LinearPlan());
  const bool is_fixed = !standard.is_null() && setting.help.find("(default:") == std::string_view::npos;
  if (is_fixed) option->default_str(standard.is_string() ? standard.get<std::string>() : standard.dump());
  option->type_name(standard.is_string() ? "TEXT" : standard.is_number_float() ? "FLOAT" : "INT");
  if (setting.kind == ValueKind::choice)
    return option->check(CLI::IsMember(CLI::detail::split(std::string(setting.choices), ',')));
  return option->check(within(setting.bounds));
}

void add_setting(CLI::App& command, PlanChoice& choice, const PlanSetting& setting) {
  const auto set = [&choice, &setting](const std::string& value) {
    setting.set(choice.linear, value);
    choice.set.emplace(setting.option);
  };
  CLI::Option* option = nullptr;
  switch (setting.kind) {
    case ValueKind::name:
      option = add_choice(command, std::string(setting.option), choice.linear.method, std::string(setting.help),
                          quantize::quantizers());
      break;
    case ValueKind::on_off:
    case ValueKind::method_off:
      option = add_switch(command, setting, set);
      break;
    case ValueKind::choice:
    case ValueKind::number:
      option = add_value(command, setting, set);
      break;
  }
  option->group(kGroup);
}

}  // namespace

void add_plan(CLI::App& command, PlanChoice& choice) {
  for (const auto& setting : quantize::plan_settings()) {
    if (!setting.option.empty()) add_setting(command, choice, setting);
  }
  command.get_option("--float-zeros")->excludes(command.get_option("--symmetric"));
  command
      .add_option("--drift-correction", choice.drift_correction,
                  "gptq, kmeans --feedback: share of the input drift, caused by preceding quantized layers, that each "
                  "weight is corrected "
                  "for before rounding; scaled down if text is scarce (default: 0.5; 0 with layerwise)")
      ->check(within(kShare))
      ->group(kGroup);
  command
      .add_option("--token-weights", choice.token_weights,
                  "Token weights in the Hessians of gptq and kmeans (--sensitivity, --feedback): uniform (none) or by "
                  "the squared "
                  "gradient of the loss (fisher)")
      ->capture_default_str()
      ->check(CLI::IsMember({"none", "fisher"}))
      ->group(kGroup);
  command
      .add_option("--rule", choice.rules,
                  fmt::format("PATTERN=skip or PATTERN=bits:8,group:32,...: settings for linears whose name matches (a "
                              "glob, or re:REGEX): {}; repeatable",
                              quantize::rule_keys()))
      ->allow_extra_args(false)
      ->check(accepted_by([](const std::string& rule) { quantize::parse_rule(rule); }))
      ->group(kGroup);
}

quantize::QuantizationPlan quantization_plan(const PlanChoice& choice, double standard_drift_correction) {
  quantize::QuantizationPlan plan;
  plan.standard = choice.linear;
  for (const auto& rule : choice.rules) plan.rules.push_back(quantize::parse_rule(rule));
  if (choice.token_weights == "fisher") plan.token_weights = quantize::TokenWeighting::fisher;
  plan.drift_correction = choice.drift_correction.value_or(standard_drift_correction);
  return plan;
}

std::set<std::string> named_plan_options(const CLI::App& command) {
  std::set<std::string> named;
  for (const auto* option : command.get_options()) {
    if (option->get_group() == kGroup && !option->empty()) named.insert(option->get_name());
  }
  named.erase("--rule");
  return named;
}

}  // namespace normtweak::cli
