#include "normtweak/base/error.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/cli/choices.h"
#include "normtweak/cli/commands.h"
#include "normtweak/cli/general_options.h"
#include "normtweak/cli/model_help.h"
#include "normtweak/cli/named_files.h"
#include "normtweak/cli/number_checks.h"
#include "normtweak/cli/report_options.h"
#include "normtweak/evaluate/lambada.h"
#include "normtweak/evaluate/scores.h"
#include "normtweak/pipeline/calibration_text.h"
#include "normtweak/pipeline/memory_plan.h"
#include "normtweak/pipeline/session.h"
#include "normtweak/report/run_report.h"
#include "normtweak/text/tokenizer.h"

namespace normtweak::cli {
namespace {

struct Choices {
  std::string model, reference, text, rows, lambada;
  WindowChoice windows;
  std::int64_t max_examples = 0, batch_rows = 0;
  Common common;
};

std::string text_line(const evaluate::Scores& scores, bool with_reference) {
  const auto perplexity =
      fmt::format("perplexity {} ± {}", figure(scores.perplexity()), figure(scores.perplexity_error()));
  if (!with_reference) return perplexity + "\n";
  return fmt::format("{} (reference {})   KLD {} ± {}   same top token {:.2f}%\n", perplexity,
                     figure(scores.reference_perplexity()), figure(scores.divergence.mean()),
                     figure(scores.divergence.standard_error()), 100 * scores.agreement.mean());
}

std::string lambada_line(const evaluate::LambadaScores& scores, std::string_view whose) {
  return fmt::format("LAMBADA{}: {:.2f}% ± {:.2f} of {}, perplexity {:.4f}\n", whose, 100 * scores.accuracy(),
                     100 * scores.correct.standard_error(), counted(scores.correct.count, "last word"),
                     scores.perplexity());
}

std::string summary(const report::Evaluation& found) {
  std::string lines;
  if (found.text) lines += text_line(*found.text, found.with_reference);
  if (found.lambada) lines += lambada_line(*found.lambada, "");
  if (found.reference_lambada) lines += lambada_line(*found.reference_lambada, " (reference)");
  return lines;
}

struct Models {
  model::Checkpoint checkpoint;
  std::optional<model::Checkpoint> reference;
};

Models open(const Choices& choices, ProgressSink& progress) {
  Models models = {.checkpoint = model::open_checkpoint(choices.model), .reference = {}};
  report_notes(models.checkpoint, progress);
  if (choices.reference.empty()) return models;
  models.reference = model::open_checkpoint(choices.reference);
  report_notes(*models.reference, progress);
  const auto found = models.checkpoint.numbers.vocabulary, expected = models.reference->numbers.vocabulary;
  if (found != expected) {
    fail("{} and {} have vocabularies of {} and {} tokens; they cannot be compared", choices.model, choices.reference,
         found, expected);
  }
  return models;
}

// The texts to score, tokenized.
struct Tokens {
  std::optional<evaluate::Windows> windows;
  std::vector<evaluate::LambadaExample> lambada;
};

Tokens tokenize(const Choices& choices, const Models& models, ProgressSink& progress) {
  // A quantized checkpoint may lack a tokenizer; then that of the float model is used.
  const auto& checkpoint = models.checkpoint;
  const bool has_one = (checkpoint.tokenizer != nullptr || !checkpoint.tokenizer_refusal.empty()) &&
                       checkpoint.tokenizer_problem.empty();
  const bool own = has_one || !models.reference;
  const auto tokenizer =
      load_tokenizer(own ? models.checkpoint : *models.reference,
                     models.reference ? "" : "name the float model as --reference: its tokenizer is taken then");
  const auto limit = models.checkpoint.numbers.context;
  Tokens tokens;
  if (!choices.text.empty() || !choices.rows.empty()) {
    const bool rows = choices.text.empty();
    tokens.windows = external_windows(pipeline::ExternalText{.path = rows ? choices.rows : choices.text,
                                                             .rows = rows,
                                                             .protocol = choices.windows.protocol,
                                                             .context = choices.windows.context,
                                                             .max_tokens = choices.windows.max_tokens},
                                      tokenizer, limit, progress);
  }
  if (!choices.lambada.empty())
    tokens.lambada = evaluate::read_lambada(choices.lambada, tokenizer, limit, choices.max_examples);
  return tokens;
}

void run(const CLI::App& command, const Choices& choices) {
  check_apart({{"--json", choices.common.json}}, {{"MODEL", choices.model},
                                                  {"--reference", choices.reference},
                                                  {"--text", choices.text},
                                                  {"--rows", choices.rows},
                                                  {"--lambada", choices.lambada}});
  const auto compute = start(choices.common, false);
  const auto progress = progress_for(choices.common);
  if (choices.text.empty() && choices.rows.empty()) {
    note_unread(command, "with --lambada alone", kWindowOptions, *progress);
  }
  if (choices.lambada.empty()) note_unread(command, "with no --lambada", {"--max-examples"}, *progress);
  note_unread_general(command, {.no_chance = "with eval"}, compute, *progress);
  const auto models = open(choices, *progress);
  const auto tokens = tokenize(choices, models, *progress);
  std::vector<const model::Checkpoint*> together = {&models.checkpoint};
  if (models.reference) together.push_back(&*models.reference);
  const auto load = pipeline::plan_models(together, compute, pipeline::available_memory(compute));
  if (const auto note = pipeline::describe(load); !note.empty()) progress->note(note);
  std::optional<model::Decoder> reference;
  if (models.reference) reference = load_decoder(*models.reference, load);
  const auto decoder = load_decoder(models.checkpoint, load);

  report::Evaluation found;
  found.with_reference = reference.has_value();
  found.protocol = choices.windows.protocol;
  if (tokens.windows) {
    const Stopwatch watch;
    found.text = evaluate::score(decoder, reference ? &*reference : nullptr, tokens.windows->rows,
                                 {.batch_rows = choices.batch_rows, .scored = tokens.windows->scored}, *progress);
    found.text_seconds = watch.seconds();
  }
  if (!tokens.lambada.empty()) {
    const evaluate::LambadaOptions options = {.batch_rows = choices.batch_rows};
    const Stopwatch watch;
    if (reference) found.reference_lambada = score_lambada(*reference, tokens.lambada, options, *progress);
    found.lambada = score_lambada(decoder, tokens.lambada, options, *progress);
    found.lambada_seconds = watch.seconds();
  }
  auto figures = report::evaluation_report(found);
  figures["model"] = choices.model;
  if (tokens.windows) {
    figures["context"] = tokens.windows->rows.tokens();
    figures["windows"] = tokens.windows->rows.samples();
  }
  finish(figures, choices.common, compute, summary(found));
}

}  // namespace

Job add_eval(CLI::App& command) {
  auto choices = std::make_shared<Choices>();
  command.footer(
      "The text is tokenized once and cut into non-overlapping windows. Figures of different protocols are not\n"
      "comparable: llama.cpp's, those of its own tool, begin each window with BOS if the model has one and score\n"
      "only tokens that have half a window before them. LAMBADA follows lm_eval's task lambada_openai; with\n"
      "--reference, --json has lambada.float and lambada.quantized, each with accuracy, stderr, perplexity and\n"
      "examples. The compute dtype is f32 unless --dtype bf16 is given.");
  command.add_option("MODEL", choices->model, model_help("The model to score", true))->required();
  command.add_option("--reference", choices->reference,
                     "The model it was made from, of the same kinds: adds KL divergence and top-1 agreement");
  auto* tasks = command.add_option_group("Task", "What to score the model on: a text, LAMBADA or both");
  auto* text = tasks->add_option("--text", choices->text, "A text file, tokenized as it is");
  tasks->add_option("--rows", choices->rows, "A data set with one row per line (WikiText: wiki.test.raw)")
      ->excludes(text);
  tasks->add_option("--lambada", choices->lambada,
                    "JSON lines with a key \"text\": accuracy and perplexity of each text's last word");
  tasks->require_option(1, 0);
  add_windows(command, choices->windows, "OPTIONS");
  command.add_option("--max-examples", choices->max_examples, "At most this many LAMBADA examples; 0: all")
      ->capture_default_str()
      ->check(within(kCount));
  command
      .add_option("--batch-rows", choices->batch_rows, "Windows or texts per forward pass; 0: chosen for the device")
      ->capture_default_str()
      ->check(within(kCount));
  add_common(command, choices->common);
  return [choices, &command] { run(command, *choices); };
}

}  // namespace normtweak::cli
