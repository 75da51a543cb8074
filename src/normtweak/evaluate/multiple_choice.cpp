#include "normtweak/evaluate/multiple_choice.h"

#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/evaluate/choice_formats.h"
#include "normtweak/evaluate/continuations.h"
#include "normtweak/text/python_strings.h"

namespace normtweak::evaluate {
namespace {

struct Choices {
  std::vector<double> lengths;  // characters of each answer
  std::size_t right = 0;
};

class MultipleChoiceTask : public Task {
 public:
  MultipleChoiceTask(const TaskOrder& order, const TaskInput& input, const ChoiceFormat& format)
      : source_{order.task, order.text.path.filename().string()}, by_length_(format.by_length) {
    for_json_rows(order.text.path, order.max_examples, [&](const JsonRow& row) {
      const auto question = format.read(row);
      Choices choices = {.lengths = {}, .right = question.right};
      for (const auto& [context, continuation, choice] : question.answers) {
        if (choice.empty()) fail("{}: an answer is empty; each needs a text", row.origin());
        continuations_.push_back(encode_continuation(context, continuation, input.tokenizer, input.context_limit,
                                                     row.origin(), fmt::format("the answer \"{}\"", choice)));
        choices.lengths.push_back(static_cast<double>(text::length(choice)));
      }
      questions_.push_back(std::move(choices));
    });
    if (questions_.empty()) {
      fail("{}: holds no rows; task {} needs JSON lines with {}", order.text.path.string(), order.task, format.fields);
    }
  }

  TaskResult run(const TaskModels& models, std::int64_t batch_rows, ProgressSink& progress) const override {
    const auto scores =
        score_continuations(models.model, continuations_,
                            {.batch_rows = batch_rows, .reference = models.reference, .stage = source_.task}, progress);
    TaskResult result;
    for (std::size_t i = 0; i < scores.size(); ++i) add_figures(scores[i], i == 0 ? kModel : kReference, result);
    return result;
  }

 private:
  void add_figures(const std::vector<ContinuationScore>& scores, std::string_view whose, TaskResult& result) const {
    Statistic likeliest, likeliest_by_length;
    auto answer = scores.begin();
    for (const auto& question : questions_) {
      std::vector<double> whole, by_length;
      for (const auto length : question.lengths) {
        whole.push_back(answer->log_likelihood);
        by_length.push_back(answer->log_likelihood / length);
        ++answer;
      }
      const auto is_right = [&](const std::vector<double>& values) {
        return std::ranges::max_element(values) - values.begin() == static_cast<std::ptrdiff_t>(question.right);
      };
      likeliest.add(is_right(whole) ? 1 : 0);
      likeliest_by_length.add(is_right(by_length) ? 1 : 0);
    }
    result.figures.push_back(mean_figure(source_, "acc", whose, likeliest));
    if (by_length_) result.figures.push_back(mean_figure(source_, "acc_norm", whose, likeliest_by_length));
  }

  FigureSource source_;
  bool by_length_;
  std::vector<Choices> questions_;
  std::vector<Continuation> continuations_;  // of all questions, one answer after the other
};

}  // namespace

std::unique_ptr<Task> multiple_choice_task(const TaskOrder& order, const TaskInput& input, ProgressSink&) {
  const auto format = std::ranges::find(choice_formats(), order.task, &ChoiceFormat::name);
  return std::make_unique<MultipleChoiceTask>(order, input, *format);
}

}  // namespace normtweak::evaluate
