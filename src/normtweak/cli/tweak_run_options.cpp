#include "normtweak/cli/tweak_run_options.h"

#include "normtweak/cli/model_help.h"

namespace normtweak::cli {

void add_tweak_run_options(CLI::App& command, TweakRunChoice& choice, const std::string& flag) {
  command.add_option("QUANTIZED", choice.quantized, model_help("The quantized model", true))->required();
  command.add_option("--reference", choice.reference, model_help("The float model that it was made from", false))
      ->required();
  command.add_option(
      "-o,--output", choice.output,
      "Output: a folder, or a file if QUANTIZED is one (GGUF); an earlier result there is replaced, but for a "
      "folder in the layout of another program, which has no mark of a result");
  add_tweak(command, choice.tweak, flag, false);
  add_text_source(command, choice.text);
  add_external(command, choice.external);
  add_common(command, choice.common);
}

pipeline::TweakRunOptions tweak_run_options(const CLI::App& command, const TweakRunChoice& choice,
                                            const std::string& flag, ProgressSink& progress) {
  pipeline::TweakRunOptions options;
  options.quantized = choice.quantized;
  options.reference = choice.reference;
  options.output = choice.output;
  options.tweak = tweak_options(choice.tweak, choice.common);
  check_tweak_options(command, choice.tweak, flag, progress);
  options.text = text_source(command, choice.text, choice.common, progress);
  note_unread_seed(command, choice.tweak, options.text, flag, progress);
  options.external = external(command, choice.external, progress);
  return options;
}

}  // namespace normtweak::cli
