#include "normtweak/evaluate/scores.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "normtweak/base/error.h"

namespace normtweak::evaluate {
namespace {

// Logits of so many bytes at a time: on a CPU about what its caches hold.
constexpr std::int64_t kChunkBytesCpu = std::int64_t{16} << 20, kChunkBytesGpu = std::int64_t{512} << 20;

// One row's tokens: all arrays [tokens] on the device.
struct RowInputs {
  at::Tensor hidden, reference_hidden;  // [tokens, hidden]
  at::Tensor ids;                       // i64 [tokens]
};

void score_chunk(const model::Decoder& model, const model::Decoder* reference, const RowInputs& row, std::int64_t begin,
                 std::int64_t count, Scores& scores, double& row_divergence) {
  const auto tokens = row.ids.size(0);
  const auto log_probabilities = logits(model, row.hidden.narrow(0, begin, count)).log_softmax(-1);
  const auto predicted = std::min(count, tokens - 1 - begin);  // the row's last token has no next one
  const auto targets = row.ids.narrow(0, begin + 1, predicted).unsqueeze(1);
  const auto likelihood_of_next = [&](const at::Tensor& all) { return all.narrow(0, 0, predicted).gather(1, targets); };
  if (predicted > 0) scores.negative_log_likelihood.add(-likelihood_of_next(log_probabilities));
  if (reference == nullptr) return;
  const auto theirs = logits(*reference, row.reference_hidden.narrow(0, begin, count)).log_softmax(-1);
  if (predicted > 0) scores.reference_negative_log_likelihood.add(-likelihood_of_next(theirs));
  const auto divergence = (theirs.exp() * (theirs - log_probabilities)).sum(-1);
  scores.divergence.add(divergence);
  row_divergence += divergence.sum(at::kDouble).item<double>();
  scores.agreement.add(theirs.argmax(-1).eq(log_probabilities.argmax(-1)));
}

void score_row(const model::Decoder& model, const model::Decoder* reference, const RowInputs& row, Scores& scores) {
  const auto bytes = model.device.is_cuda() ? kChunkBytesGpu : kChunkBytesCpu;
  const auto chunk = std::max<std::int64_t>(1, bytes / (4 * model.config.vocabulary));
  const auto tokens = row.ids.size(0);
  double divergence = 0;
  for (std::int64_t begin = 0; begin < tokens; begin += chunk) {
    score_chunk(model, reference, row, begin, std::min(chunk, tokens - begin), scores, divergence);
  }
  if (!std::isfinite(scores.negative_log_likelihood.sum) || !std::isfinite(divergence)) {
    fail("the logits are not finite; the model is damaged, or its weights overflow in {}; try --dtype f32",
         c10::toString(model.type));
  }
  scores.divergence_by_row.push_back(divergence / static_cast<double>(tokens));
}

std::int64_t default_batch_rows(const model::Decoder& model, std::int64_t tokens) {
  return model.device.is_cuda() ? std::max<std::int64_t>(1, 16384 / tokens) : std::max<std::int64_t>(1, 2048 / tokens);
}

}  // namespace

double TokenStatistic::mean() const { return count > 0 ? sum / static_cast<double>(count) : 0; }

double TokenStatistic::standard_error() const {
  if (count < 2) return 0;
  const auto n = static_cast<double>(count);
  return std::sqrt(std::max(0.0, squares / n - mean() * mean()) / (n - 1));
}

void TokenStatistic::add(const at::Tensor& values) {
  const auto exact = values.to(at::kDouble);
  sum += exact.sum().item<double>();
  squares += exact.square().sum().item<double>();
  count += exact.numel();
}

double Scores::perplexity() const { return std::exp(negative_log_likelihood.mean()); }
double Scores::perplexity_error() const { return perplexity() * negative_log_likelihood.standard_error(); }
double Scores::reference_perplexity() const { return std::exp(reference_negative_log_likelihood.mean()); }

Scores score(const model::Decoder& model, const model::Decoder* reference, const calibrate::TokenBatch& batch,
             const ScoreOptions& options, ProgressSink& progress) {
  const c10::NoGradGuard no_gradients;
  Stage stage(progress, options.stage, batch.ids.numel(), "tokens");
  const auto step = options.batch_rows > 0 ? options.batch_rows : default_batch_rows(model, batch.tokens());
  Scores scores;
  for (std::int64_t begin = 0; begin < batch.samples(); begin += step) {
    const auto part = rows(batch, begin, std::min(step, batch.samples() - begin));
    const auto ids = part.ids.to(model.device);
    const auto hidden = last_hidden_state(model, ids);
    const auto theirs = reference == nullptr ? at::Tensor() : last_hidden_state(*reference, ids);
    for (std::int64_t row = 0; row < part.samples(); ++row) {
      // Padding is on the right: a row's tokens are its first ones.
      const auto tokens = part.mask.defined() ? part.mask[row].sum().item<std::int64_t>() : part.tokens();
      score_row(model, reference,
                {hidden[row].narrow(0, 0, tokens), theirs.defined() ? theirs[row].narrow(0, 0, tokens) : at::Tensor(),
                 ids[row].narrow(0, 0, tokens)},
                scores);
    }
    stage.advance(part.ids.numel());
  }
  return scores;
}

}  // namespace normtweak::evaluate
