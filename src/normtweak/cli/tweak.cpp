#include "normtweak/base/error.h"
#include "normtweak/cli/commands.h"
#include "normtweak/cli/general_options.h"
#include "normtweak/cli/model_help.h"
#include "normtweak/cli/named_files.h"
#include "normtweak/cli/report_options.h"
#include "normtweak/cli/run_summary.h"
#include "normtweak/cli/text_options.h"
#include "normtweak/cli/tweak_options.h"
#include "normtweak/pipeline/run.h"
#include "normtweak/report/run_report.h"

namespace normtweak::cli {
namespace {

struct Choices {
  pipeline::TweakRunOptions options;
  Common common;
  TextChoice text;
  ExternalChoice external;
  TweakChoice tweak;
};

}  // namespace

Job add_tweak_command(CLI::App& command) {
  auto choices = std::make_shared<Choices>();
  command.footer(
      "The result is a copy of QUANTIZED, a folder or a GGUF file, of the same size: only norms, biases and the "
      "scales\n"
      "beside the codes differ, all else is byte-identical. Of an export without codes (--format hf) only the norms\n"
      "and biases can be tuned. --patch writes just what changed: `normtweak apply` puts it into a copy of QUANTIZED.\n"
      "--reference may be the same model in another format.");
  command.add_option("QUANTIZED", choices->options.quantized, model_help("The quantized model", true))->required();
  command
      .add_option("--reference", choices->options.reference, model_help("The float model that it was made from", false))
      ->required();
  command.add_option("-o,--output", choices->options.output,
                     "Output: a folder, or a file if QUANTIZED is one (GGUF); an earlier result there is "
                     "replaced");
  command.add_option("--patch", choices->options.patch, "Write what changed to this file, with or without -o");
  add_tweak(command, choices->tweak, "--method", false);
  add_text_source(command, choices->text);
  add_external(command, choices->external);
  add_common(command, choices->common);
  return [choices, &command] {
    const auto progress = progress_for(choices->common);
    auto& options = choices->options;
    options.tweak = tweak_options(choices->tweak, choices->common);
    check_tweak_options(command, choices->tweak, "--method", *progress);
    options.text = text_source(command, choices->text, choices->common, *progress);
    note_unread_seed(command, choices->tweak, options.text, "--method", *progress);
    options.external = external(command, choices->external, *progress);
    check_report_apart(choices->common, options.output,
                       {{"QUANTIZED", options.quantized}, {"--reference", options.reference}}, options.text,
                       options.external);
    check_apart({{"--patch", options.patch}}, {{"QUANTIZED", options.quantized}, {"--reference", options.reference}});
    check_apart({{"-o", options.output}, {"--patch", options.patch}, {"--json", choices->common.json}}, {});
    if (options.output.empty() && options.patch.empty()) {
      fail_usage("-o is missing: where to save the result; --patch may save what changed alone");
    }
    options.compute = start(choices->common, true, true);
    note_unread_general(command, {}, options.compute, *progress);
    const auto result = pipeline::tweak_model(options, *progress);
    finish(report::run_report(result), choices->common, options.compute, run_summary(result, result.output.string()));
  };
}

}  // namespace normtweak::cli
