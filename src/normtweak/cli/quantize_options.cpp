#include "normtweak/cli/quantize_options.h"

#include "normtweak/base/device/device.h"
#include "normtweak/base/error.h"
#include "normtweak/cli/choices.h"
#include "normtweak/cli/model_help.h"
#include "normtweak/cli/presets.h"
#include "normtweak/cli/saved_plan.h"
#include "normtweak/formats/gguf_presets.h"
#include "normtweak/pipeline/save_formats.h"
#include "normtweak/pipeline/served_by.h"

namespace normtweak::cli {
namespace {

// One format is a file with types of its own.
void check_gguf(const CLI::App& command, const QuantizeChoice& choice) {
  const auto& format = pipeline::find_save_format(choice.format);
  if (format.output == pipeline::OutputKind::folder) {
    return refuse_unread(command, fmt::format("with --format {}", choice.format), {"--gguf-type"});
  }
  refuse_unread(command, "with --format gguf", {"--store-dtype"}, "--gguf-type names the types");
  if (choice.gguf_type.empty()) fail_usage("--format gguf needs --gguf-type, such as Q4_K_M or F16");
  pipeline::check_ending(format, choice.output);
}

// The layer-wise tweak matches the float block on the quantized stream, which is a different objective from drift
// correction.
double standard_drift_correction(const pipeline::TweakOptions& tweak) {
  return tweak.method == pipeline::TweakMethod::layerwise ? 0 : 0.5;
}

}  // namespace

void add_quantize_options(CLI::App& command, QuantizeChoice& choice, const std::string& output_help) {
  command.add_option("MODEL", choice.model, model_help("The float model", false))->required();
  command.add_option("-o,--output", choice.output, output_help)->required();
  add_choice(command, "--format", choice.format, "Output format", pipeline::save_formats(),
             [](const std::string& name) { pipeline::find_save_format(name); });
  add_choice(command, "--gguf-type", choice.gguf_type,
             "With --format gguf: the types of its tensors, as llama.cpp's quantizer mixes them",
             formats::gguf_presets());
  add_choice(command, "--for", choice.served_by,
             "Program that is to serve the result: settings that it cannot open are refused before the work, with "
             "the next ones that it can",
             pipeline::servers());
  command
      .add_option("--store-dtype", choice.store_type,
                  "dtype of the stored floats: f32, f16 or bf16 (default: the model's; f16 for a .gguf file)")
      ->check(accepted_by([](const std::string& type) { parse_float_type(type); }));
  auto* preset =
      add_choice(command, "--preset", choice.preset,
                 "Settings of a published method, in place of the defaults; options that are given win", presets());
  command
      .add_option("--plan", choice.plan_file,
                  "Settings of an earlier run, from its --save-plan; options that are given win")
      ->excludes(preset);
  add_plan(command, choice.plan);
  add_transform_options(command, choice.transform);
  add_tweak(command, choice.tweak, "--tweak", true);
  add_learned_codes(command, choice.tweak);
  add_text_source(command, choice.text);
  add_external(command, choice.external);
  add_common(command, choice.common);
}

Json set_defaults(CLI::App& command, QuantizeChoice& choice, ProgressSink& progress) {
  if (!choice.plan_file.empty()) set_plan(command, choice.plan_file, choice.model, progress);
  return choice.preset.empty() ? Json() : set_preset(command, choice.preset, progress);
}

pipeline::QuantizeOptions quantize_options(const CLI::App& command, const QuantizeChoice& choice,
                                           ProgressSink& progress) {
  pipeline::QuantizeOptions options;
  options.model = choice.model;
  options.output = choice.output;
  options.format = choice.format;
  options.served_by = choice.served_by;
  options.gguf_type = choice.gguf_type;
  options.tweak = tweak_options(choice.tweak, choice.common);
  options.transform = transform_options(command, choice.transform);
  options.named = named_plan_options(command);
  check_gguf(command, choice);
  check_tweak_options(command, choice.tweak, "--tweak", progress);
  options.plan = quantization_plan(choice.plan, standard_drift_correction(options.tweak));
  options.standard_group_size = !choice.plan.set.contains("--group-size");
  if (!choice.store_type.empty()) options.store_type = parse_float_type(choice.store_type);
  options.text = text_source(command, choice.text, choice.common, progress);
  note_unread_seed(command, choice.tweak, options.text, "--tweak", progress);
  options.external = external(command, choice.external, progress);
  check_report_apart(choice.common, options.output, {{"MODEL", options.model}}, options.text, options.external);
  return options;
}

}  // namespace normtweak::cli
