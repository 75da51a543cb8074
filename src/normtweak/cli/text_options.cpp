#include "normtweak/cli/text_options.h"

#include <fmt/ranges.h>

#include <filesystem>

#include "normtweak/base/error.h"
#include "normtweak/base/presence.h"
#include "normtweak/calibrate/languages.h"
#include "normtweak/cli/choices.h"
#include "normtweak/cli/number_checks.h"

namespace normtweak::cli {
namespace {

// What the chosen strategy does not read.
void note_unread_writing(const CLI::App& command, const TextChoice& choice, ProgressSink& progress) {
  const auto& strategy = choice.source.self.strategy;
  const auto choice_of = "--strategy " + strategy;
  if (strategy != "language" && !strategy.empty()) note_unread(command, choice_of, {"--languages"}, progress);
  if (strategy == "random-tokens") {
    note_unread(command, choice_of, {"--temperature", "--top-k", "--top-p", "--generate-batch"}, progress);
  }
}

}  // namespace

void add_text_writing(CLI::App& command, TextChoice& choice) {
  auto& self = choice.source.self;
  command.add_option("--samples", self.samples, "Rows of calibration text")
      ->capture_default_str()
      ->check(within(kPositiveCount))
      ->group("Text");
  command
      .add_option("--tokens", self.tokens, "Tokens per row (default: 512, or the model's context if that is shorter)")
      ->check(within(kPositiveCount))
      ->group("Text");
  add_choice(command, "--strategy", self.strategy,
             "How each document starts (default: language, or llm-qat if the tokenizer has no word of --languages)",
             calibrate::strategies())
      ->group("Text");
  command
      .add_option("--languages", choice.languages,
                  fmt::format("For strategy language: a list of {}", fmt::join(calibrate::language_codes(), ",")))
      ->capture_default_str()
      ->check(accepted_by([](const std::string& list) { calibrate::parse_languages(list); }))
      ->group("Text");
  command.add_option("--temperature", self.sampling.temperature, "Sampling temperature: divides the logits")
      ->capture_default_str()
      ->check(within(kPositive))
      ->group("Text");
  command.add_option("--top-k", self.sampling.top_k, "Sample from the k likeliest tokens; 0: from all")
      ->capture_default_str()
      ->check(within(kCount))
      ->group("Text");
  command
      .add_option("--top-p", self.sampling.top_p, "Sample from the likeliest tokens whose probabilities sum to this")
      ->capture_default_str()
      ->check(within(kPositiveShare))
      ->group("Text");
  command.add_option("--generate-batch", self.batch, "Rows per generation batch; 0: as many as memory allows")
      ->capture_default_str()
      ->check(within(kCount))
      ->group("Text");
  command.add_option("--text", choice.source.real_text, "Cut the rows from this text file instead")->group("Text");
}

void add_text_source(CLI::App& command, TextChoice& choice) {
  auto* ids = command.add_option("--calibration", choice.source.ids,
                                 "Token ids from `normtweak generate` (safetensors; default: generate them now)");
  ids->group("Text");
  add_text_writing(command, choice);
  ids->excludes(command.get_option("--text"));
}

pipeline::TextSource text_source(const CLI::App& command, const TextChoice& choice, const Common& common,
                                 ProgressSink& progress) {
  auto source = choice.source;
  const std::vector<std::string> writing = {"--strategy", "--languages", "--temperature",
                                            "--top-k",    "--top-p",     "--generate-batch"};
  for (const auto& file : {source.ids, source.real_text}) {
    if (!file.empty() && !is_present(file)) fail("{}: no such file", file.string());
  }
  if (!source.ids.empty()) {
    note_unread(command, "--calibration", {"--samples", "--tokens"}, progress);
    note_unread(command, "--calibration", writing, progress);
  } else if (!source.real_text.empty()) {
    note_unread(command, "--text", writing, progress);
  }
  if (source.ids.empty() && source.real_text.empty()) note_unread_writing(command, choice, progress);
  source.self.seed = common.seed;
  source.self.languages = calibrate::parse_languages(choice.languages);
  return source;
}

}  // namespace normtweak::cli
