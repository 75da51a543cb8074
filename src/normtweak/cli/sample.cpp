#include "normtweak/cli/choices.h"
#include "normtweak/cli/commands.h"
#include "normtweak/cli/general_options.h"
#include "normtweak/cli/named_files.h"
#include "normtweak/cli/number_checks.h"
#include "normtweak/model/continuation.h"
#include "normtweak/pipeline/memory_plan.h"
#include "normtweak/text/tokenizer.h"

namespace normtweak::cli {
namespace {

struct Choices {
  std::vector<std::string> models;
  std::string prompt;
  model::ContinuationOptions options;
  double temperature = 0;
  Common common;
};

void run(const CLI::App& command, Choices& choices) {
  std::vector<NamedFile> read;
  for (const auto& model : choices.models) read.push_back({"MODEL", model});
  check_apart({{"--json", choices.common.json}}, read);
  const auto compute = start(choices.common, false);
  const auto progress = progress_for(choices.common);
  auto& options = choices.options;
  options.greedy = choices.temperature == 0;
  options.seed = choices.common.seed;
  if (options.greedy) {
    refuse_unread(command, "with --temperature 0", {"--top-k", "--top-p"});
  } else {
    options.sampling.temperature = choices.temperature;
  }
  // All are opened first, so that a mistake in the last name is not found after the work for the others.
  std::vector<model::Checkpoint> checkpoints;
  for (const auto& model : choices.models) {
    checkpoints.push_back(model::open_checkpoint(model));
    report_notes(checkpoints.back(), *progress);
    load_tokenizer(checkpoints.back());
  }
  Json figures;
  std::string lines;
  for (std::size_t i = 0; i < checkpoints.size(); ++i) {
    const auto load = pipeline::plan_models({&checkpoints[i]}, compute, pipeline::available_memory(compute));
    const auto text =
        continuation(checkpoints[i], load_decoder(checkpoints[i], load), choices.prompt, options, *progress);
    figures["samples"].push_back({{"model", choices.models[i]}, {"prompt", choices.prompt}, {"text", text}});
    lines += fmt::format("{}:\n{}{}\n\n", choices.models[i], choices.prompt, text);
  }
  finish(figures, choices.common, compute, lines);
}

}  // namespace

Job add_sample(CLI::App& command) {
  auto choices = std::make_shared<Choices>();
  command.footer(
      "The models go on with the same prompt, one after another: the float, the quantized, the tweaked one.");
  command.add_option("MODEL", choices->models, "One model or more")->required();
  command.add_option("--prompt", choices->prompt, "The beginning of the text")->required();
  command.add_option("--tokens", choices->options.tokens, "At most this many tokens after the prompt")
      ->capture_default_str()
      ->check(within(kPositiveCount));
  command.add_option("--temperature", choices->temperature, "Sampling temperature; 0: the likeliest token every time")
      ->capture_default_str()
      ->check(within({.name = "NONNEGATIVE"}));
  command.add_option("--top-k", choices->options.sampling.top_k, "Sample from the k likeliest tokens; 0: from all")
      ->capture_default_str()
      ->check(within(kCount));
  command
      .add_option("--top-p", choices->options.sampling.top_p,
                  "Sample from the likeliest tokens whose probabilities sum to this")
      ->capture_default_str()
      ->check(within(kPositiveShare));
  add_common(command, choices->common);
  return [choices, &command] { run(command, *choices); };
}

}  // namespace normtweak::cli
