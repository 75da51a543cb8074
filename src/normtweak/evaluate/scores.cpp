#include "normtweak/evaluate/scores.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "normtweak/evaluate/logits.h"
#include "normtweak/evaluate/token_figures.h"

namespace normtweak::evaluate {
namespace {

// The positions that are scored, row after row.
struct FlatRows {
  std::vector<std::int64_t> lengths;  // positions in each row
  Pass pass;                          // the next token is meaningless for a row's last position
};

// bool [rows, tokens], or undefined: every position. Padding is on the right: a row's tokens are its first ones.
at::Tensor positions(const calibrate::TokenBatch& batch, const Scored& scored) {
  if (!batch.mask.defined() && scored.first == 0 && scored.last) return {};
  auto mask = batch.mask.defined() ? batch.mask.clone() : at::ones(batch.ids.sizes(), at::kBool);
  if (!scored.last) {
    const auto count = batch.tokens() - 1;
    mask.narrow(1, 0, count).logical_and_(mask.narrow(1, 1, count).clone());
    mask.select(1, count).fill_(false);
  }
  mask.narrow(1, 0, std::min(scored.first, batch.tokens())).fill_(false);
  return mask;
}

FlatRows flatten(const calibrate::TokenBatch& batch, const Scored& scored, c10::Device device) {
  FlatRows flat;
  flat.pass.ids = batch.ids.to(device);
  auto next = batch.ids.roll(-1, 1).flatten();
  if (const auto mask = positions(batch, scored); mask.defined()) {
    const auto lengths = mask.sum(1);
    for (std::int64_t i = 0; i < batch.samples(); ++i) flat.lengths.push_back(lengths[i].item<std::int64_t>());
    const auto places = mask.flatten().nonzero().squeeze(1);
    next = next.index_select(0, places);
    flat.pass.places = places.to(device);
  } else {
    flat.lengths.assign(static_cast<std::size_t>(batch.samples()), batch.tokens());
  }
  flat.pass.next = next.to(device);
  return flat;
}

TokenFigures of_row(const TokenFigures& all, std::int64_t begin, std::int64_t length) {
  return {.likelihood = all.likelihood.narrow(0, begin, length),
          .greedy = {},
          .divergence = all.divergence.narrow(0, begin, length),
          .agreement = all.agreement.narrow(0, begin, length)};
}

// A row's last token has no next token, hence no likelihood. theirs: of the reference, or null.
void add_row(const TokenFigures& ours, const TokenFigures* theirs, bool last, Scores& scores) {
  const auto tokens = ours.likelihood.size(0);
  const auto predicted = last ? std::max<std::int64_t>(0, tokens - 1) : tokens;
  scores.negative_log_likelihood.add(-ours.likelihood.narrow(0, 0, predicted));
  if (theirs == nullptr) return;
  scores.reference_negative_log_likelihood.add(-theirs->likelihood.narrow(0, 0, predicted));
  const double before = scores.divergence.sum;
  scores.divergence.add(ours.divergence);
  scores.divergence_by_row.push_back((scores.divergence.sum - before) / static_cast<double>(tokens));
  scores.agreement.add(ours.agreement);
}

// figures: of each model, and then of the reference if there is one.
void add_rows(const std::vector<TokenFigures>& figures, const FlatRows& rows, bool last, std::vector<Scores>& scores) {
  const bool with_reference = figures.size() > scores.size();
  for (std::size_t i = 0; i < scores.size(); ++i) {
    std::int64_t begin = 0;
    for (const auto length : rows.lengths) {
      const auto theirs = of_row(figures.back(), begin, length);
      add_row(of_row(figures[i], begin, length), with_reference ? &theirs : nullptr, last, scores[i]);
      begin += length;
    }
  }
}

}  // namespace

double Scores::perplexity() const { return std::exp(negative_log_likelihood.mean()); }
double Scores::perplexity_error() const { return perplexity() * negative_log_likelihood.standard_error(); }
double Scores::reference_perplexity() const { return std::exp(reference_negative_log_likelihood.mean()); }

std::vector<Scores> score(const std::vector<const model::Decoder*>& models, const model::Decoder* reference,
                          const calibrate::TokenBatch& batch, const ScoreOptions& options, ProgressSink& progress) {
  const c10::NoGradGuard no_gradients;
  Stage stage(progress, options.stage, batch.ids.numel(), "tokens");
  const auto step = options.batch_rows > 0 ? options.batch_rows : rows_in_pass(*models.front(), batch.tokens());
  std::vector<Scores> scores(models.size());
  for (std::int64_t begin = 0; begin < batch.samples(); begin += step) {
    const auto part = rows(batch, begin, std::min(step, batch.samples() - begin));
    const auto flat = flatten(part, options.scored, models.front()->device);
    const auto figures = token_figures(models, flat.pass, {.reference = reference});
    add_rows(figures, flat, options.scored.last, scores);
    stage.advance(part.ids.numel());
  }
  return scores;
}

Scores score(const model::Decoder& model, const model::Decoder* reference, const calibrate::TokenBatch& batch,
             const ScoreOptions& options, ProgressSink& progress) {
  return std::move(score(std::vector{&model}, reference, batch, options, progress).front());
}

}  // namespace normtweak::evaluate
