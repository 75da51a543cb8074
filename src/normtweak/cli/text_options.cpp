#include "normtweak/cli/text_options.h"

#include <fmt/ranges.h>

#include "normtweak/calibrate/languages.h"
#include "normtweak/cli/choices.h"
#include "normtweak/cli/number_checks.h"

namespace normtweak::cli {

void add_text_writing(CLI::App& command, TextChoice& choice) {
  auto& self = choice.source.self;
  command.add_option("--samples", self.samples, "Rows of calibration text")
      ->capture_default_str()
      ->check(within(kPositiveCount))
      ->group("Text");
  command.add_option("--tokens", self.tokens, "Tokens in a row")
      ->capture_default_str()
      ->check(within(kPositiveCount))
      ->group("Text");
  add_choice(command, "--strategy", self.strategy, "How a text starts", calibrate::strategies())->group("Text");
  command
      .add_option("--languages", choice.languages,
                  fmt::format("For strategy language, a list of: {}", fmt::join(calibrate::language_codes(), ",")))
      ->capture_default_str()
      ->check(accepted_by([](const std::string& list) { calibrate::parse_languages(list); }))
      ->group("Text");
  command.add_option("--temperature", self.sampling.temperature, "Divides the logits")
      ->capture_default_str()
      ->check(within(kPositive))
      ->group("Text");
  command.add_option("--top-k", self.sampling.top_k, "Sample from the k likeliest tokens; 0: from all")
      ->capture_default_str()
      ->check(within(kCount))
      ->group("Text");
  command.add_option("--top-p", self.sampling.top_p, "Sample from the likeliest tokens with this probability together")
      ->capture_default_str()
      ->check(within(kPositiveShare))
      ->group("Text");
  command.add_option("--generate-batch", self.batch, "Rows written together; 0: as many as memory allows")
      ->capture_default_str()
      ->check(within(kCount))
      ->group("Text");
  command.add_option("--text", choice.source.real_text, "Cut the rows from this text file instead")
      ->check(CLI::ExistingFile)
      ->group("Text");
}

void add_text_source(CLI::App& command, TextChoice& choice) {
  command
      .add_option("--calibration", choice.source.ids,
                  "Token ids from `normtweak generate` (safetensors); default: the model writes them now")
      ->group("Text");
  add_text_writing(command, choice);
}

pipeline::TextSource text_source(const TextChoice& choice, const Common& common) {
  auto source = choice.source;
  source.self.seed = common.seed;
  source.self.languages = calibrate::parse_languages(choice.languages);
  return source;
}

}  // namespace normtweak::cli
