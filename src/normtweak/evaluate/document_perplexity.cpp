#include "normtweak/evaluate/document_perplexity.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "normtweak/base/error.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/evaluate/documents.h"
#include "normtweak/evaluate/perplexity.h"
#include "normtweak/text/corpus.h"

namespace normtweak::evaluate {
namespace {

using Document = DocumentText::Document;

// What stands before a document, so that its first token is predicted: BOS, or EOS in a vocabulary without it.
std::int64_t token_before(const TaskInput& input) {
  const auto& roles = input.tokenized_by.token_roles;
  for (const auto* role : {"bos_token", "eos_token"}) {
    const auto found = roles.find(role);
    if (found == roles.end()) continue;
    if (const auto id = input.tokenizer.id_of(found->second)) return *id;
  }
  const auto prefix = input.tokenizer.prefix();
  if (!prefix.empty()) return prefix.front();
  fail(
      "{}: the tokenizer names neither a bos_token nor an eos_token, from which protocol lm-eval predicts the first "
      "token of a document; name one in tokenizer_config.json, or use another --protocol",
      input.tokenized_by.path);
}

LossRate rate(const std::vector<double>& losses, const std::vector<Document>& documents,
              std::int64_t Document::*weight) {
  LossRate found;
  double sum = 0, squares = 0;
  for (const auto loss : losses) sum += loss;
  for (const auto& document : documents) found.units += document.*weight;
  const auto total = static_cast<double>(found.units);
  found.value = sum / total;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    const double rest = losses[i] - found.value * static_cast<double>(documents[i].*weight);
    squares += rest * rest;
  }
  const auto n = static_cast<double>(losses.size());
  if (n > 1) found.error = std::sqrt(n / (n - 1) * squares) / total;
  return found;
}

class DocumentTask : public Task {
 public:
  DocumentTask(const TextFile& text, const TaskInput& input, ProgressSink& progress)
      : source_{perplexity_name(text), text.path.filename().string()}, text_(read_documents(text, input, progress)) {}

  TaskResult run(const TaskModels& models, std::int64_t batch_rows, ProgressSink& progress) const override {
    const auto scores =
        score_continuations(models.model, text_.windows,
                            {.batch_rows = batch_rows, .reference = models.reference, .stage = source_.task}, progress);
    TaskResult result = {
        .context = text_.context, .windows = std::ssize(text_.windows), .tokens_scored = text_.tokens_scored()};
    add_figures(scores.front(), kModel, result);
    if (models.reference == nullptr) return result;
    const auto [divergence, agreement] = comparison(scores.front());
    result.figures.push_back(mean_figure(source_, "kld", kModel, divergence));
    result.figures.push_back(mean_figure(source_, "top1_agreement", kModel, agreement));
    add_figures(scores.back(), kReference, result);
    return result;
  }

 private:
  void add_figures(const std::vector<ContinuationScore>& scores, std::string_view whose, TaskResult& result) const {
    const auto [words, bytes] = document_loss(text_, scores);
    const auto add = [&](const char* metric, double value, double error, std::int64_t count) {
      result.figures.push_back({source_.task, source_.text, metric, std::string(whose), value, error, count});
    };
    add("word_perplexity", words.perplexity(), words.perplexity_error(), words.units);
    add("byte_perplexity", bytes.perplexity(), bytes.perplexity_error(), bytes.units);
    add("bits_per_byte", bytes.value / std::numbers::ln2, bytes.error / std::numbers::ln2, bytes.units);
  }

  FigureSource source_;
  DocumentText text_;
};

}  // namespace

std::int64_t DocumentText::longest_window() const {
  std::size_t longest = 0;
  for (const auto& window : windows) longest = std::max(longest, window.ids.size() - 1);
  return static_cast<std::int64_t>(longest);
}

std::int64_t DocumentText::tokens_scored() const {
  std::int64_t tokens = 0;
  for (const auto& window : windows) tokens += window.predicted;
  return tokens;
}

DocumentText read_documents(const TextFile& text, const TaskInput& input, ProgressSink& progress) {
  DocumentText found = {
      .context = window_tokens(text, input.context_limit, progress), .documents = {}, .windows = {}, .ids = {}};
  const auto corpus = text::read_text(text.path);
  const auto before = token_before(input);
  std::int64_t tokens = 0;
  for (const auto& page : pages(corpus.text)) {
    const auto ids = input.tokenizer.encode(detokenized(page), true, text.path.string());
    tokens += std::ssize(ids);
    if (text.max_tokens > 0 && tokens > text.max_tokens) break;
    found.ids.insert(found.ids.end(), ids.begin(), ids.end());
    const auto windows = rolling_windows(ids, before, found.context);
    found.documents.push_back(
        {.windows = windows.size(), .words = count_words(page), .bytes = static_cast<std::int64_t>(page.size())});
    found.windows.insert(found.windows.end(), windows.begin(), windows.end());
  }
  if (found.documents.empty()) {
    fail_usage("--max-tokens {}: the first document of {} has {}; protocol lm-eval takes whole ones", text.max_tokens,
               text.path.string(), counted(tokens, "token"));
  }
  if (found.windows.empty()) fail("{}: holds no tokens; a text is needed", text.path.string());
  return found;
}

double LossRate::perplexity() const { return std::exp(value); }
double LossRate::perplexity_error() const { return perplexity() * error; }

DocumentLoss document_loss(const DocumentText& text, const std::vector<ContinuationScore>& scores) {
  std::vector<double> losses;
  auto window = scores.begin();
  for (const auto& document : text.documents) {
    losses.push_back(0);
    for (const auto end = window + static_cast<std::ptrdiff_t>(document.windows); window != end; ++window) {
      losses.back() -= window->log_likelihood;
    }
  }
  return {.words = rate(losses, text.documents, &Document::words),
          .bytes = rate(losses, text.documents, &Document::bytes)};
}

Comparison comparison(const std::vector<ContinuationScore>& scores) {
  Comparison sums;
  for (const auto& score : scores) {
    sums.divergence.add(score.divergence);
    sums.agreement.add(score.agreement);
  }
  return sums;
}

std::unique_ptr<Task> document_perplexity_task(const TaskOrder& order, const TaskInput& input, ProgressSink& progress) {
  return std::make_unique<DocumentTask>(order.text, input, progress);
}

}  // namespace normtweak::evaluate
