#include "normtweak/base/device.h"
#include "normtweak/cli/choices.h"
#include "normtweak/cli/commands.h"
#include "normtweak/cli/general_options.h"
#include "normtweak/cli/number_checks.h"
#include "normtweak/cli/report_options.h"
#include "normtweak/cli/run_summary.h"
#include "normtweak/cli/text_options.h"
#include "normtweak/cli/tweak_options.h"
#include "normtweak/pipeline/run.h"
#include "normtweak/pipeline/save_checkpoint.h"
#include "normtweak/report/run_report.h"

namespace normtweak::cli {
namespace {

struct Choices {
  pipeline::QuantizeOptions options;
  CLI::Option *search_grid = nullptr, *act_order = nullptr, *sweeps = nullptr, *drift_correction = nullptr;
  std::string token_weights = "none";
  std::vector<std::string> rules;
  std::string store_type;
  Common common;
  TextChoice text;
  ExternalChoice external;
  TweakChoice tweak;
};

void add_plan(CLI::App& command, Choices& choices) {
  auto& plan = choices.options.plan.standard;
  add_choice(command, "--method", plan.method, "How weights are rounded", quantize::quantizers())->group("Quantize");
  command.add_option("--bits", plan.bits, "Bits of a code")
      ->capture_default_str()
      ->check(CLI::IsMember({"2", "3", "4", "6", "8"}))
      ->group("Quantize");
  command.add_option("--group-size", plan.group_size, "Input columns that share a scale; 0: the whole row")
      ->capture_default_str()
      ->check(within(kCount))
      ->group("Quantize");
  auto* symmetric =
      command.add_flag("--symmetric", plan.symmetric, "Zero-points fixed at the middle code, and not stored");
  symmetric->group("Quantize");
  command
      .add_flag("--float-zeros", plan.float_zeros,
                "Zero-points as floats in the type of the scales, which the tweak then tunes; such a checkpoint is "
                "read by normtweak alone")
      ->excludes(symmetric)
      ->group("Quantize");
  choices.search_grid = command.add_flag("--search-grid,!--no-search-grid", plan.search_grid,
                                         "Shrink each group's range to the least |error|^2.4 (default: with gptq)");
  choices.act_order = command.add_flag("--act-order,!--no-act-order", plan.act_order,
                                       "gptq: columns that matter most first; groups stay as they are, no g_idx "
                                       "(default: on)");
  for (auto* flag : {choices.search_grid, choices.act_order}) flag->group("Quantize");
  choices.sweeps = command
                       .add_option("--sweeps", plan.sweeps,
                                   "gptq: how often scales, then codes are fitted again with all others known; 0: GPTQ "
                                   "as published (default: 2)")
                       ->check(within(kCount))
                       ->group("Quantize");
  command.add_flag("--sensitivity", plan.sensitivity, "kmeans: weight columns by the size of their inputs")
      ->group("Quantize");
  command.add_option("--damping", plan.damping, "gptq: added to the Hessian's diagonal, as a share of its mean")
      ->capture_default_str()
      ->check(within(kShare))
      ->group("Quantize");
  choices.drift_correction =
      command
          .add_option("--drift-correction", choices.options.plan.drift_correction,
                      "gptq: how much of what the linears before it did to its inputs a weight makes up for before it "
                      "is rounded; with little text less (default: 0.5; 0 with the layer-wise tweak and ridge)")
          ->check(within(kShare))
          ->group("Quantize");
  command
      .add_option("--token-weights", choices.token_weights,
                  "Tokens in the Hessians of gptq and of kmeans --sensitivity: all alike (none), or by the loss's "
                  "squared gradient (fisher)")
      ->capture_default_str()
      ->check(CLI::IsMember({"none", "fisher"}))
      ->group("Quantize");
  command
      .add_option("--rule", choices.rules,
                  "PATTERN=skip or PATTERN=bits:8,group:32,...: change the plan of linears whose name matches (glob, "
                  "or re:REGEX); repeatable")
      ->allow_extra_args(false)
      ->check(accepted_by([](const std::string& rule) { quantize::parse_rule(rule); }))
      ->group("Quantize");
}

// Rules can give any linear any method, and then everything may have an effect.
void check_plan_options(const CLI::App& command, const Choices& choices) {
  if (!choices.rules.empty()) return;
  const auto& method = choices.options.plan.standard.method;
  const auto& quantizer = quantize::find_quantizer(method);
  const auto choice = "--method " + method;
  if (!quantizer.uses_groups) {
    refuse_with(command, choice, {"--group-size", "--symmetric", "--float-zeros", "--search-grid"});
  }
  if (!quantizer.needs_hessian) {
    refuse_with(command, choice, {"--act-order", "--sweeps", "--damping", "--drift-correction"});
  }
  if (!quantizer.uses_sensitivity) refuse_with(command, choice, {"--sensitivity"});
  const bool weighs_inputs = quantizer.needs_hessian || choices.options.plan.standard.sensitivity;
  const auto without = quantizer.uses_sensitivity ? " without --sensitivity" : "";
  if (!weighs_inputs) refuse_with(command, choice + without, {"--token-weights"});
}

// Whether norms are matched to the float block on the quantized stream: that is another aim than the float model's own.
bool matches_norms(const pipeline::TweakOptions& tweak) {
  return tweak.method == pipeline::TweakMethod::layerwise || tweak.method == pipeline::TweakMethod::ridge ||
         tweak.start_with_ridge;
}

}  // namespace

Job add_quantize(CLI::App& command) {
  auto choices = std::make_shared<Choices>();
  command.footer(
      "Products run in bf16 where the hardware multiplies it, figures are scored in f32.\n"
      "Some rows of the text are seen by no step; they decide whether the tweak is kept.");
  command.add_option("MODEL", choices->options.model, "The float model")->required();
  command.add_option("-o,--output", choices->options.output, "Folder to write; an earlier result there is replaced")
      ->required();
  add_choice(command, "--format", choices->options.format, "What to write", pipeline::save_formats());
  command
      .add_option("--store-dtype", choices->store_type,
                  "Type of the stored floats: f32, f16 or bf16 (default: the model's)")
      ->check(accepted_by([](const std::string& type) { parse_float_type(type); }));
  add_plan(command, *choices);
  add_tweak(command, choices->tweak, "--tweak", true);
  add_text_source(command, choices->text);
  add_external(command, choices->external);
  add_common(command, choices->common);
  return [choices, &command] {
    check_plan_options(command, *choices);
    check_tweak_options(command, choices->tweak, "--tweak");
    auto& options = choices->options;
    auto& plan = options.plan.standard;
    if (choices->search_grid->empty()) plan.search_grid = plan.method == "gptq";
    if (choices->act_order->empty()) plan.act_order = plan.method == "gptq";
    if (choices->sweeps->empty()) plan.sweeps = plan.method == "gptq" ? 2 : 0;
    if (choices->token_weights == "fisher") options.plan.token_weights = quantize::TokenWeighting::fisher;
    for (const auto& rule : choices->rules) options.plan.rules.push_back(quantize::parse_rule(rule));
    if (!choices->store_type.empty()) options.store_type = parse_float_type(choices->store_type);
    options.tweak = tweak_options(choices->tweak, choices->common);
    if (choices->drift_correction->empty()) options.plan.drift_correction = matches_norms(options.tweak) ? 0 : 0.5;
    options.text = text_source(choices->text, choices->common);
    options.external = external(choices->external);
    check_report_apart(choices->common, options.output, {{"MODEL", options.model}}, options.text, options.external);
    options.compute = start(choices->common, true, true);
    const auto progress = progress_for(choices->common);
    const auto result = pipeline::quantize_model(options, *progress);
    finish(report::run_report(result), choices->common, options.compute, run_summary(result, options.output.string()));
  };
}

}  // namespace normtweak::cli
