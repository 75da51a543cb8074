#include "normtweak/pipeline/evaluate_model.h"

#include <optional>

#include "normtweak/base/error.h"
#include "normtweak/base/stopwatch.h"
#include "normtweak/pipeline/memory_plan.h"

namespace normtweak::pipeline {
namespace {

struct Checkpoints {
  model::Checkpoint model;
  std::optional<model::Checkpoint> reference;
};

Checkpoints open(const EvaluateOptions& options, ProgressSink& progress) {
  Checkpoints opened = {.model = model::open_checkpoint(options.model), .reference = {}};
  report_notes(opened.model, progress);
  if (options.reference.empty()) return opened;
  opened.reference = model::open_checkpoint(options.reference);
  report_notes(*opened.reference, progress);
  const auto found = opened.model.numbers.vocabulary, expected = opened.reference->numbers.vocabulary;
  if (found != expected) {
    fail("{} and {} have vocabularies of {} and {} tokens; they cannot be compared", options.model, options.reference,
         found, expected);
  }
  return opened;
}

// A quantized checkpoint may lack a tokenizer; then that of the float model is used.
const model::Checkpoint& tokenized_by(const Checkpoints& opened) {
  const auto& model = opened.model;
  const bool has_one =
      (model.tokenizer != nullptr || !model.tokenizer_refusal.empty()) && model.tokenizer_problem.empty();
  return has_one || !opened.reference ? model : *opened.reference;
}

std::vector<std::unique_ptr<evaluate::Task>> read_tasks(const EvaluateOptions& options, const Checkpoints& opened,
                                                        ProgressSink& progress) {
  const auto& checkpoint = tokenized_by(opened);
  const auto tokenizer = load_tokenizer(
      checkpoint, opened.reference ? "" : "name the float model as --reference: its tokenizer is taken then");
  const evaluate::TaskInput input = {
      .tokenized_by = checkpoint, .tokenizer = tokenizer, .context_limit = opened.model.numbers.context};
  std::vector<std::unique_ptr<evaluate::Task>> tasks;
  for (const auto& order : options.tasks) tasks.push_back(evaluate::find_task(order.task).read(order, input, progress));
  return tasks;
}

}  // namespace

EvaluationResult evaluate_model(const EvaluateOptions& options, ProgressSink& progress) {
  const auto opened = open(options, progress);
  const auto tasks = read_tasks(options, opened, progress);
  std::vector<const model::Checkpoint*> together = {&opened.model};
  if (opened.reference) together.push_back(&*opened.reference);
  const auto load = plan_models(together, options.compute, available_memory(options.compute));
  if (const auto note = describe(load); !note.empty()) progress.note(note);
  std::optional<model::Decoder> reference;
  if (opened.reference) reference = load_decoder(*opened.reference, load);
  const auto model = load_decoder(opened.model, load);

  const evaluate::TaskModels models = {.model = model, .reference = reference ? &*reference : nullptr};
  EvaluationResult result = {.model = options.model, .with_reference = reference.has_value(), .tasks = {}};
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    const Stopwatch watch;
    auto found = tasks[i]->run(models, options.batch_rows, progress);
    result.tasks.push_back({.order = options.tasks[i], .result = std::move(found), .seconds = watch.seconds()});
  }
  return result;
}

}  // namespace normtweak::pipeline
