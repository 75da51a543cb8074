#include "normtweak/evaluate/document_perplexity.h"

#include <cmath>
#include <numbers>

#include "normtweak/base/error.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/evaluate/continuations.h"
#include "normtweak/evaluate/documents.h"
#include "normtweak/evaluate/perplexity.h"
#include "normtweak/text/corpus.h"
#include "normtweak/text/tokenizer_folder.h"

namespace normtweak::evaluate {
namespace {

struct Document {
  std::size_t windows = 0;
  std::int64_t words = 0, bytes = 0;
};

// What stands before a document, so that its first token is predicted: BOS, or EOS in a vocabulary without it.
std::int64_t token_before(const TaskInput& input) {
  const auto makings = load_tokenizer_with_makings(input.tokenized_by).makings.value();
  for (const auto* role : {"bos_token", "eos_token"}) {
    const auto found = makings.roles.find(role);
    if (found == makings.roles.end()) continue;
    if (const auto id = input.tokenizer.id_of(found->second)) return *id;
  }
  const auto prefix = input.tokenizer.prefix();
  if (!prefix.empty()) return prefix.front();
  fail(
      "{}: the tokenizer names neither a bos_token nor an eos_token, from which protocol lm-eval predicts the first "
      "token of a document; name one in tokenizer_config.json, or use another --protocol",
      input.tokenized_by.path);
}

// A ratio of two sums over documents.
struct Ratio {
  double value = 0, error = 0;
  std::int64_t total = 0;  // of the denominator
};

Ratio ratio(const std::vector<double>& losses, const std::vector<Document>& documents, std::int64_t Document::*weight) {
  Ratio found;
  double sum = 0, squares = 0;
  for (const auto loss : losses) sum += loss;
  for (const auto& document : documents) found.total += document.*weight;
  const auto total = static_cast<double>(found.total);
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
      : source_{perplexity_name(text), text.path.filename().string()},
        context_(window_tokens(text, input.context_limit, progress)) {
    const auto corpus = text::read_text(text.path);
    const auto before = token_before(input);
    std::int64_t tokens = 0;
    for (const auto& page : pages(corpus.text)) {
      const auto ids = input.tokenizer.encode(detokenized(page), true, text.path.string());
      tokens += std::ssize(ids);
      if (text.max_tokens > 0 && tokens > text.max_tokens) break;
      const auto windows = rolling_windows(ids, before, context_);
      documents_.push_back(
          {.windows = windows.size(), .words = count_words(page), .bytes = static_cast<std::int64_t>(page.size())});
      windows_.insert(windows_.end(), windows.begin(), windows.end());
    }
    if (documents_.empty()) {
      fail_usage("--max-tokens {}: the first document of {} has {}; protocol lm-eval takes whole ones", text.max_tokens,
                 text.path.string(), counted(tokens, "token"));
    }
    if (windows_.empty()) fail("{}: holds no tokens; a text is needed", text.path.string());
  }

  TaskResult run(const TaskModels& models, std::int64_t batch_rows, ProgressSink& progress) const override {
    const auto scores =
        score_continuations(models.model, windows_,
                            {.batch_rows = batch_rows, .reference = models.reference, .stage = source_.task}, progress);
    TaskResult result = {.context = context_, .windows = std::ssize(windows_)};
    for (const auto& window : windows_) result.tokens_scored += window.predicted;
    add_figures(scores.front(), kModel, result);
    if (models.reference == nullptr) return result;
    add_comparison(scores.front(), result);
    add_figures(scores.back(), kReference, result);
    return result;
  }

 private:
  void add_figures(const std::vector<ContinuationScore>& scores, std::string_view whose, TaskResult& result) const {
    std::vector<double> losses;
    auto window = scores.begin();
    for (const auto& document : documents_) {
      losses.push_back(0);
      for (const auto end = window + static_cast<std::ptrdiff_t>(document.windows); window != end; ++window) {
        losses.back() -= window->log_likelihood;
      }
    }
    const auto add = [&](const char* metric, double value, double error, std::int64_t count) {
      result.figures.push_back({source_.task, source_.text, metric, std::string(whose), value, error, count});
    };
    const auto words = ratio(losses, documents_, &Document::words), bytes = ratio(losses, documents_, &Document::bytes);
    const auto per_word = std::exp(words.value), per_byte = std::exp(bytes.value);
    add("word_perplexity", per_word, per_word * words.error, words.total);
    add("byte_perplexity", per_byte, per_byte * bytes.error, bytes.total);
    add("bits_per_byte", bytes.value / std::numbers::ln2, bytes.error / std::numbers::ln2, bytes.total);
  }

  void add_comparison(const std::vector<ContinuationScore>& scores, TaskResult& result) const {
    Statistic divergence, agreement;
    for (const auto& score : scores) {
      divergence.add(score.divergence);
      agreement.add(score.agreement);
    }
    result.figures.push_back(mean_figure(source_, "kld", kModel, divergence));
    result.figures.push_back(mean_figure(source_, "top1_agreement", kModel, agreement));
  }

  FigureSource source_;
  std::int64_t context_;
  std::vector<Document> documents_;
  std::vector<Continuation> windows_;  // of all documents, one after the other
};

}  // namespace

std::unique_ptr<Task> document_perplexity_task(const TaskOrder& order, const TaskInput& input, ProgressSink& progress) {
  return std::make_unique<DocumentTask>(order.text, input, progress);
}

}  // namespace normtweak::evaluate
