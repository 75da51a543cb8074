#include "normtweak/evaluate/perplexity.h"

#include <fmt/format.h>

#include "normtweak/evaluate/document_perplexity.h"

namespace normtweak::evaluate {
namespace {

class PerplexityTask : public Task {
 public:
  PerplexityTask(const TextFile& text, const TaskInput& input, ProgressSink& progress)
      : source_{perplexity_name(text), text.path.filename().string()},
        windows_(read_windows(text, input.tokenizer, input.context_limit, progress)) {}

  TaskResult run(const TaskModels& models, std::int64_t batch_rows, ProgressSink& progress) const override {
    const auto scores = score(models.model, models.reference, windows_.rows,
                              {.batch_rows = batch_rows, .scored = windows_.scored}, progress);
    TaskResult result = {.context = windows_.rows.tokens(),
                         .windows = windows_.rows.samples(),
                         .tokens_scored = scores.negative_log_likelihood.count};
    auto& figures = result.figures;
    figures.push_back(perplexity_figure(source_, "perplexity", kModel, scores.negative_log_likelihood));
    if (models.reference == nullptr) return result;
    figures.push_back(mean_figure(source_, "kld", kModel, scores.divergence));
    figures.push_back(mean_figure(source_, "top1_agreement", kModel, scores.agreement));
    figures.push_back(perplexity_figure(source_, "perplexity", kReference, scores.reference_negative_log_likelihood));
    return result;
  }

 private:
  FigureSource source_;
  Windows windows_;
};

}  // namespace

std::string perplexity_name(const TextFile& text) { return fmt::format("perplexity/{}", text.protocol); }

std::unique_ptr<Task> perplexity_task(const TaskOrder& order, const TaskInput& input, ProgressSink& progress) {
  if (find_protocol(order.text.protocol).documents) return document_perplexity_task(order, input, progress);
  return std::make_unique<PerplexityTask>(order.text, input, progress);
}

}  // namespace normtweak::evaluate
