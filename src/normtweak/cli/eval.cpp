#include <chrono>

#include "normtweak/base/error.h"
#include "normtweak/cli/commands.h"
#include "normtweak/cli/common.h"
#include "normtweak/evaluate/scores.h"
#include "normtweak/pipeline/calibration_text.h"
#include "normtweak/report/run_report.h"

namespace normtweak::cli {
namespace {

struct Choices {
  std::string model, reference, text, rows, protocol = "gptq";
  std::int64_t context = 2048, max_tokens = 0, batch_rows = 0;
  Common common;
};

std::string summary(const evaluate::Scores& scores, bool with_reference) {
  if (!with_reference) {
    return fmt::format("perplexity {:.4f} ± {:.4f}\n", scores.perplexity(), scores.perplexity_error());
  }
  return fmt::format("perplexity {:.4f} ± {:.4f} (reference {:.4f})   KLD {:.5f} ± {:.5f}   same top token {:.2f}%\n",
                     scores.perplexity(), scores.perplexity_error(), scores.reference_perplexity(),
                     scores.divergence.mean(), scores.divergence.standard_error(), 100 * scores.agreement.mean());
}

void run(const Choices& choices) {
  const auto compute = start(choices.common, false);
  const auto progress = progress_for(choices.common);
  const auto checkpoint = model::open_checkpoint(choices.model);
  const model::LoadOptions load = {.device = compute.device, .type = compute.type};
  std::optional<model::Decoder> reference;
  std::optional<model::Checkpoint> reference_checkpoint;
  if (!choices.reference.empty()) {
    reference_checkpoint = model::open_checkpoint(choices.reference);
    if (reference_checkpoint->numbers.vocabulary != checkpoint.numbers.vocabulary) {
      fail("{} and {} have vocabularies of {} and {} tokens; they cannot be compared", choices.model, choices.reference,
           checkpoint.numbers.vocabulary, reference_checkpoint->numbers.vocabulary);
    }
    reference = load_decoder(*reference_checkpoint, load);
  }
  const bool rows = choices.text.empty();
  const pipeline::ExternalText text = {rows ? choices.rows : choices.text, rows, choices.context, choices.max_tokens};
  // The float model's tokenizer where there is one: a quantized checkpoint may have come without.
  const auto& tokenizer_home =
      checkpoint.side_files.contains("tokenizer.json") || !reference_checkpoint ? checkpoint : *reference_checkpoint;
  const auto windows = external_windows(text, load_tokenizer(tokenizer_home), checkpoint.numbers.context);
  const auto decoder = load_decoder(checkpoint, load);
  const auto begin = std::chrono::steady_clock::now();
  const auto scores = evaluate::score(decoder, reference ? &*reference : nullptr, windows,
                                      {.batch_rows = choices.batch_rows}, *progress);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  auto figures = report::evaluation_report(scores, reference.has_value(), choices.protocol, seconds);
  figures["model"] = choices.model;
  figures["context"] = windows.tokens();
  figures["windows"] = windows.samples();
  finish(figures, choices.common, compute, summary(scores, reference.has_value()));
}

}  // namespace

Job add_eval(CLI::App& command) {
  auto choices = std::make_shared<Choices>();
  command.footer(
      "Protocol gptq: the text tokenized once, cut into windows that do not overlap. Figures of different\n"
      "protocols are not comparable. Products run in f32 unless --dtype bf16.");
  command.add_option("MODEL", choices->model, "The model to score")->required();
  command.add_option("--reference", choices->reference, "The float model: adds KL divergence and top-1 agreement");
  auto* texts = command.add_option_group("Text", "What to score the model on, one of these");
  texts->add_option("--text", choices->text, "A text file, encoded as it is");
  texts->add_option("--rows", choices->rows, "A data set with one row a line (WikiText: wiki.test.raw)");
  texts->require_option(1);
  command.add_option("--protocol", choices->protocol, "How the text is cut")
      ->capture_default_str()
      ->check(CLI::IsMember({"gptq"}));
  command.add_option("--context", choices->context, "Tokens in a window, at most the model's context")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  command.add_option("--max-tokens", choices->max_tokens, "Only so many tokens; 0: all")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  command.add_option("--batch-rows", choices->batch_rows, "Windows in one pass; 0: chosen for the device")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  add_common(command, choices->common);
  return [choices] { run(*choices); };
}

}  // namespace normtweak::cli
