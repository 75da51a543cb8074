#include "normtweak/evaluate/lambada.h"

#include <cmath>

#include "normtweak/base/error.h"
#include "normtweak/evaluate/json_rows.h"
#include "normtweak/text/characters.h"

namespace normtweak::evaluate {
namespace {

LambadaScores sum_up(const std::vector<ContinuationScore>& scores) {
  LambadaScores sums;  // in file order, independent of batching
  for (const auto& score : scores) {
    sums.correct.add(score.greedy ? 1 : 0);
    sums.negative_log_likelihood.add(-score.log_likelihood);
  }
  return sums;
}

class LambadaTask : public Task {
 public:
  LambadaTask(const TaskOrder& order, const TaskInput& input)
      : source_{order.task, order.text.path.filename().string()},
        examples_(read_lambada(order.text.path, input.tokenizer, input.context_limit, order.max_examples)) {}

  TaskResult run(const TaskModels& models, std::int64_t batch_rows, ProgressSink& progress) const override {
    const auto scores = score_continuations(
        models.model, examples_,
        {.batch_rows = batch_rows, .reference = models.reference, .greedy = true, .stage = source_.task}, progress);
    TaskResult result;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const auto sums = sum_up(scores[i]);
      const auto whose = i == 0 ? kModel : kReference;
      result.figures.push_back(mean_figure(source_, "acc", whose, sums.correct));
      result.figures.push_back(perplexity_figure(source_, "perplexity", whose, sums.negative_log_likelihood));
    }
    return result;
  }

 private:
  FigureSource source_;
  std::vector<Continuation> examples_;
};

}  // namespace

Continuation lambada_example(std::string_view text, const text::Tokenizer& tokenizer, std::int64_t context_limit,
                             std::string_view origin) {
  const auto space = text.rfind(' ');
  if (space == std::string_view::npos || text::is_blank(text.substr(0, space))) {
    fail("{}: a last word and something before it are needed, separated by a space", origin);
  }
  if (space + 1 == text.size()) fail("{}: the text ends in a space, so that it has no last word", origin);
  return encode_continuation(text.substr(0, space), text.substr(space), tokenizer, context_limit, origin,
                             "the last word");
}

std::vector<Continuation> read_lambada(const std::filesystem::path& path, const text::Tokenizer& tokenizer,
                                       std::int64_t context_limit, std::int64_t max_examples) {
  std::vector<Continuation> examples;
  for_json_rows(path, max_examples, [&](const JsonRow& row) {
    examples.push_back(lambada_example(row.text("text"), tokenizer, context_limit, row.origin()));
  });
  if (examples.empty()) fail("{}: holds no rows; JSON lines with the key \"text\" are needed", path.string());
  return examples;
}

double LambadaScores::perplexity() const { return std::exp(negative_log_likelihood.mean()); }

LambadaScores score_lambada(const model::Decoder& model, const std::vector<Continuation>& examples,
                            const LambadaOptions& options, ProgressSink& progress) {
  const auto scores = score_continuations(
      model, examples, {.batch_rows = options.batch_rows, .greedy = true, .stage = options.stage}, progress);
  return sum_up(scores.front());
}

std::unique_ptr<Task> lambada_task(const TaskOrder& order, const TaskInput& input, ProgressSink&) {
  return std::make_unique<LambadaTask>(order, input);
}

}  // namespace normtweak::evaluate
