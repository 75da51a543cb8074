#include "normtweak/cli/text_options.h"

#include <fmt/ranges.h>

#include <filesystem>

#include "normtweak/base/error.h"
#include "normtweak/base/files/path_exists.h"
#include "normtweak/calibrate/languages.h"
#include "normtweak/cli/choices.h"
#include "normtweak/cli/number_checks.h"

namespace normtweak::cli {
namespace {

// What the chosen source of the text does not read.
void check_unread(const CLI::App& command, const pipeline::TextSource& source, ProgressSink& progress) {
  const std::vector<std::string> sampling = {"--temperature", "--top-k", "--top-p", "--generate-batch"};
  const auto note = [&](const std::string& why, const std::vector<std::string>& options) {
    note_unread(command, why, options, progress);
  };
  const auto& strategy = source.self.strategy;
  if (!source.ids.empty()) {
    refuse_unread(command, "with --calibration", {"--samples", "--tokens"}, "the file's rows are taken as they are");
    note("with --calibration", {"--strategy", "--languages"});
    note("with --calibration", sampling);
  } else if (!source.real_text.empty()) {
    note("with --text", {"--strategy", "--languages"});
    note("with --text", sampling);
  } else {
    const auto with = "with --strategy " + strategy;
    if (strategy != "language" && !strategy.empty()) note(with, {"--languages"});
    if (strategy == "random-tokens") {
      note(with, sampling);
    } else if (source.self.sampling.top_k == 1) {
      note("with --top-k 1, the likeliest token alone", {"--temperature", "--top-p"});
    }
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
  command.add_option("--text", choice.source.real_text, "Cut --samples rows of --tokens from this text file instead")
      ->group("Text");
}

void add_text_source(CLI::App& command, TextChoice& choice) {
  auto* ids =
      command.add_option("--calibration", choice.source.ids,
                         "Token ids from `normtweak generate` (safetensors), all rows as they are (default: the "
                         "model writes a text now)");
  ids->group("Text");
  add_text_writing(command, choice);
  ids->excludes(command.get_option("--text"));
}

pipeline::TextSource text_source(const CLI::App& command, const TextChoice& choice, const Common& common,
                                 ProgressSink& progress) {
  auto source = choice.source;
  for (const auto& file : {source.ids, source.real_text}) {
    if (!file.empty() && !path_exists(file)) fail("{}: no such file", file.string());
  }
  check_unread(command, source, progress);
  source.self.seed = common.seed;
  source.self.languages = calibrate::parse_languages(choice.languages);
  return source;
}

}  // namespace normtweak::cli
