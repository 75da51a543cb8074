#include <ostream>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/base/files/writable.h"
#include "normtweak/cli/commands.h"
#include "normtweak/cli/job.h"
#include "normtweak/cli/named_files.h"
#include "normtweak/cli/quantize_options.h"
#include "normtweak/cli/run_summary.h"
#include "normtweak/cli/saved_plan.h"
#include "normtweak/pipeline/run.h"
#include "normtweak/report/run_report.h"

namespace normtweak::cli {
namespace {

struct Choices {
  QuantizeChoice quantize;
  std::string save_plan;
  bool print_plan = false;
};

void check_plan_apart(const Choices& choices) {
  const auto& quantize = choices.quantize;
  const NamedFile saved = {"--save-plan", choices.save_plan};
  check_apart({saved}, {{"MODEL", quantize.model},
                        {"--calibration", quantize.text.source.ids},
                        {"--text", quantize.text.source.real_text}});
  check_apart({{"-o", quantize.output}, saved, {"--json", quantize.common.json}}, {});
  if (!choices.save_plan.empty()) check_file_target(choices.save_plan);
}

void run(CLI::App& command, Choices& choices) {
  auto& quantize = choices.quantize;
  const auto& common = quantize.common;
  const auto progress = progress_for(common);
  const auto preset = set_defaults(command, quantize, *progress);
  auto options = quantize_options(command, quantize, *progress);
  check_plan_apart(choices);
  options.compute = start(common, true, true);
  note_unread_general(command, {}, options.compute, *progress);
  const pipeline::PreparedQuantize prepared(options, *progress);
  const auto plan = plan_of(quantize, prepared, preset).dump(2) + "\n";
  if (!choices.save_plan.empty() && is_first_process()) {
    write_file_atomically(choices.save_plan, [&](std::ostream& file) { file << plan; });
  }
  if (choices.print_plan) {
    if (is_first_process()) print(plan);
    return;
  }
  const auto result = quantize_model(prepared, *progress);
  auto figures = report::run_report(result);
  if (!preset.is_null()) figures["settings"]["preset"] = preset;
  finish(figures, common, options.compute, run_summary(result, options.output.string()));
}

}  // namespace

Job add_quantize(CLI::App& command) {
  auto choices = std::make_shared<Choices>();
  command.footer(
      "The compute dtype is bf16 on hardware with fast bf16 products; reported figures are scored in f32.\n"
      "Held-out rows of the text, not used for training, decide whether the tweak is kept. While it runs, the "
      "quantized\n"
      "model is in OUT.untouched: a run that dies loses no more than the tweak.");
  add_quantize_options(command, choices->quantize,
                       "Output folder, or .gguf file with --format gguf; an earlier result there is replaced");
  command.add_option("--save-plan", choices->save_plan, "Write the settings of this run to this file, for --plan");
  command.add_flag("--print-plan", choices->print_plan, "Print the settings that a run would have, and end");
  return [choices, &command] { run(command, *choices); };
}

}  // namespace normtweak::cli
