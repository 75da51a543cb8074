#include "normtweak/base/device/device.h"
#include "normtweak/base/error.h"
#include "normtweak/cli/choices.h"
#include "normtweak/cli/commands.h"
#include "normtweak/cli/general_options.h"
#include "normtweak/cli/model_help.h"
#include "normtweak/cli/number_checks.h"
#include "normtweak/cli/report_options.h"
#include "normtweak/cli/run_summary.h"
#include "normtweak/cli/text_options.h"
#include "normtweak/cli/transform_options.h"
#include "normtweak/cli/tweak_options.h"
#include "normtweak/formats/gguf_presets.h"
#include "normtweak/pipeline/run.h"
#include "normtweak/pipeline/save_formats.h"
#include "normtweak/pipeline/served_by.h"
#include "normtweak/report/run_report.h"

namespace normtweak::cli {
namespace {

struct Choices {
  pipeline::QuantizeOptions options;
  CLI::Option* gguf_type = nullptr;
  CLI::Option *group_size = nullptr, *search_grid = nullptr, *act_order = nullptr, *drift_correction = nullptr;
  bool searches_grid = false, orders_columns = false;  // where their options were given
  std::string token_weights = "none";
  std::vector<std::string> rules;
  std::string store_type;
  Common common;
  TransformChoice transform;
  TextChoice text;
  ExternalChoice external;
  TweakChoice tweak;
};

void add_plan(CLI::App& command, Choices& choices) {
  auto& plan = choices.options.plan.standard;
  add_choice(command, "--method", plan.method, "Quantization method", quantize::quantizers())->group("Quantize");
  command.add_option("--bits", plan.bits, "Bits per code")
      ->capture_default_str()
      ->check(CLI::IsMember({"2", "3", "4", "6", "8"}))
      ->group("Quantize");
  choices.group_size =
      command.add_option("--group-size", plan.group_size,
                         "Input columns that share a scale; 0: the whole row (default: the largest of 128, 64, 32 and "
                         "16 that divides the columns of all linears)");
  choices.group_size->check(within(kCount))->group("Quantize");
  auto* symmetric = command.add_flag("--symmetric", plan.symmetric,
                                     "Symmetric quantization: zero-points fixed at the middle code, not stored");
  symmetric->group("Quantize");
  command
      .add_flag("--float-zeros", plan.float_zeros,
                "Float zero-points in the dtype of the scales, tuned by the tweak; only normtweak reads such a "
                "checkpoint")
      ->excludes(symmetric)
      ->group("Quantize");
  choices.search_grid = command.add_flag("--search-grid,!--no-search-grid", choices.searches_grid,
                                         "Shrink each group's range to minimise the sum of |error|^2.4 (default: on "
                                         "for linears that gptq quantizes)");
  choices.act_order = command.add_flag("--act-order,!--no-act-order", choices.orders_columns,
                                       "gptq: round columns in order of decreasing Hessian diagonal, with static "
                                       "groups, no g_idx (default: on)");
  for (auto* flag : {choices.search_grid, choices.act_order}) flag->group("Quantize");
  command
      .add_option("--sweeps", plan.sweeps,
                  "gptq: coordinate-descent sweeps after GPTQ, each refitting scales, then codes; 0: GPTQ as published "
                  "(default: 2)")
      ->check(within(kCount))
      ->group("Quantize");
  command.add_flag("--sensitivity", plan.sensitivity, "kmeans: weight columns by the Hessian's diagonal")
      ->group("Quantize");
  command.add_option("--damping", plan.damping, "gptq: added to the Hessian's diagonal, as a share of its mean")
      ->capture_default_str()
      ->check(within(kShare))
      ->group("Quantize");
  choices.drift_correction =
      command
          .add_option(
              "--drift-correction", choices.options.plan.drift_correction,
              "gptq: share of the input drift, caused by preceding quantized layers, that each weight is corrected "
              "for before rounding; scaled down if text is scarce (default: 0.5; 0 with layerwise)")
          ->check(within(kShare))
          ->group("Quantize");
  command
      .add_option("--token-weights", choices.token_weights,
                  "Token weights in the Hessians of gptq and kmeans --sensitivity: uniform (none) or by the squared "
                  "gradient of the loss (fisher)")
      ->capture_default_str()
      ->check(CLI::IsMember({"none", "fisher"}))
      ->group("Quantize");
  command
      .add_option("--rule", choices.rules,
                  fmt::format("PATTERN=skip or PATTERN=bits:8,group:32,...: settings for linears whose name matches (a "
                              "glob, or re:REGEX): {}; repeatable",
                              quantize::rule_keys()))
      ->allow_extra_args(false)
      ->check(accepted_by([](const std::string& rule) { quantize::parse_rule(rule); }))
      ->group("Quantize");
}

// The options of the plan that were given; the run says which of them have no effect.
std::set<std::string> named_options(const CLI::App& command) {
  std::set<std::string> named = {"--token-weights", "--drift-correction", "--awq-clip"};
  for (const auto& setting : quantize::plan_settings()) named.emplace(setting.option);
  named.erase("");
  std::erase_if(named, [&](const std::string& option) { return command.get_option(option)->empty(); });
  return named;
}

// One format is a file with types of its own.
void check_gguf(const CLI::App& command, const Choices& choices) {
  const auto& options = choices.options;
  if (pipeline::find_save_format(options.format).output == pipeline::OutputKind::folder) {
    return refuse_unread(command, fmt::format("with --format {}", options.format), {"--gguf-type"});
  }
  refuse_unread(command, "with --format gguf", {"--store-dtype"}, "--gguf-type names the types");
  if (choices.gguf_type->empty()) fail_usage("--format gguf needs --gguf-type, such as Q4_K_M or F16");
  pipeline::check_ending(pipeline::find_save_format(options.format), options.output);
}

// The layer-wise tweak matches the float block on the quantized stream, which is a different objective from drift
// correction.
double standard_drift_correction(const pipeline::TweakOptions& tweak) {
  return tweak.method == pipeline::TweakMethod::layerwise ? 0 : 0.5;
}

}  // namespace

Job add_quantize(CLI::App& command) {
  auto choices = std::make_shared<Choices>();
  command.footer(
      "The compute dtype is bf16 on hardware with fast bf16 products; reported figures are scored in f32.\n"
      "Held-out rows of the text, not used for training, decide whether the tweak is kept. While it runs, the "
      "quantized\n"
      "model is in OUT.untouched: a run that dies loses no more than the tweak.");
  command.add_option("MODEL", choices->options.model, model_help("The float model", false))->required();
  command
      .add_option("-o,--output", choices->options.output,
                  "Output folder, or .gguf file with --format gguf; an earlier result there is replaced")
      ->required();
  add_choice(command, "--format", choices->options.format, "Output format", pipeline::save_formats(),
             [](const std::string& name) { pipeline::find_save_format(name); });
  choices->gguf_type = add_choice(command, "--gguf-type", choices->options.gguf_type,
                                  "With --format gguf: the types of its tensors, as llama.cpp's quantizer mixes them",
                                  formats::gguf_presets());
  add_choice(command, "--for", choices->options.served_by,
             "Program that is to serve the result: settings that it cannot open are refused before the work, with "
             "the next ones that it can",
             pipeline::servers());
  command
      .add_option("--store-dtype", choices->store_type,
                  "dtype of the stored floats: f32, f16 or bf16 (default: the model's; f16 for a .gguf file)")
      ->check(accepted_by([](const std::string& type) { parse_float_type(type); }));
  add_plan(command, *choices);
  add_transform_options(command, choices->transform);
  add_tweak(command, choices->tweak, "--tweak", true);
  add_text_source(command, choices->text);
  add_external(command, choices->external);
  add_common(command, choices->common);
  return [choices, &command] {
    const auto progress = progress_for(choices->common);
    auto& options = choices->options;
    options.tweak = tweak_options(choices->tweak, choices->common);
    options.transform = transform_options(command, choices->transform);
    options.named = named_options(command);
    check_gguf(command, *choices);
    check_tweak_options(command, choices->tweak, "--tweak", *progress);
    auto& plan = options.plan.standard;
    if (!choices->search_grid->empty()) plan.search_grid = choices->searches_grid;
    if (!choices->act_order->empty()) plan.act_order = choices->orders_columns;
    options.standard_group_size = choices->group_size->empty();
    if (choices->token_weights == "fisher") options.plan.token_weights = quantize::TokenWeighting::fisher;
    for (const auto& rule : choices->rules) options.plan.rules.push_back(quantize::parse_rule(rule));
    if (!choices->store_type.empty()) options.store_type = parse_float_type(choices->store_type);
    if (choices->drift_correction->empty()) options.plan.drift_correction = standard_drift_correction(options.tweak);
    options.text = text_source(command, choices->text, choices->common, *progress);
    note_unread_seed(command, choices->tweak, options.text, "--tweak", *progress);
    options.external = external(command, choices->external, *progress);
    check_report_apart(choices->common, options.output, {{"MODEL", options.model}}, options.text, options.external);
    options.compute = start(choices->common, true, true);
    note_unread_general(command, {}, options.compute, *progress);
    const auto result = pipeline::quantize_model(options, *progress);
    finish(report::run_report(result), choices->common, options.compute, run_summary(result, options.output.string()));
  };
}

}  // namespace normtweak::cli
