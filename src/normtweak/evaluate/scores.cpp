#include "normtweak/evaluate/scores.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "normtweak/evaluate/logits.h"
#include "normtweak/model/forward_pass.h"
#include "normtweak/model/head.h"

namespace normtweak::evaluate {
namespace {

// The positions that are scored, row after row.
struct FlatRows {
  std::vector<std::int64_t> lengths;  // positions in each row
  at::Tensor ids;                     // i64 [rows, tokens] on the device, padding included
  at::Tensor places;                  // i64 [all positions]: in the flattened `ids`; undefined: all of them
  at::Tensor next;                    // i64 [all positions]: the next token; meaningless for a row's last one
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
  flat.ids = batch.ids.to(device);
  auto next = batch.ids.roll(-1, 1).flatten();
  if (const auto mask = positions(batch, scored); mask.defined()) {
    const auto lengths = mask.sum(1);
    for (std::int64_t i = 0; i < batch.samples(); ++i) flat.lengths.push_back(lengths[i].item<std::int64_t>());
    const auto places = mask.flatten().nonzero().squeeze(1);
    next = next.index_select(0, places);
    flat.places = places.to(device);
  } else {
    flat.lengths.assign(static_cast<std::size_t>(batch.samples()), batch.tokens());
  }
  flat.next = next.to(device);
  return flat;
}

// f32 [all tokens, hidden]
at::Tensor hidden_states(const model::Decoder& model, const FlatRows& rows) {
  const auto hidden = last_hidden_state(model, rows.ids).flatten(0, 1);
  return rows.places.defined() ? hidden.index_select(0, rows.places) : hidden;
}

// Figures per token, f32 [all tokens]: rows of one table, so that a single copy brings them to the host.
struct Figures {
  at::Tensor likelihood, divergence, agreement;
};
constexpr std::int64_t kFigures = 3;

Figures figures_of(const at::Tensor& table, std::size_t model) {
  const auto first = static_cast<std::int64_t>(model) * kFigures;
  return {table[first], table[first + 1], table[first + 2]};
}

class Scorer {
 public:
  Scorer(const std::vector<const model::Decoder*>& models, const model::Decoder* reference, const Scored& scored)
      : models_(models), reference_(reference), scored_(scored), scores_(models.size()) {}

  void add(const calibrate::TokenBatch& batch) {
    const auto rows = flatten(batch, scored_, models_.front()->device);
    const auto tokens = rows.next.size(0);
    // The last lines are the reference's.
    const auto lines = static_cast<std::int64_t>(models_.size() + 1) * kFigures;
    const auto table = at::empty({lines, tokens}, rows.next.options().dtype(at::kFloat));
    std::vector<at::Tensor> hidden;
    for (const auto* model : models_) hidden.push_back(hidden_states(*model, rows));
    if (reference_ != nullptr) hidden.push_back(hidden_states(*reference_, rows));
    for_chunks(*models_.front(), tokens, [&](std::int64_t begin, std::int64_t count) {
      std::vector<at::Tensor> part;
      for (const auto& states : hidden) part.push_back(states.narrow(0, begin, count));
      score_chunk(part, rows.next.narrow(0, begin, count), table.narrow(1, begin, count));
    });
    sum_up(table.cpu(), rows.lengths, batch.ids);
  }

  std::vector<Scores> take() { return std::move(scores_); }

 private:
  // hidden: f32 [tokens, hidden], of each model and then of the reference. Logits are overwritten by derived values,
  // since memory traffic dominates the computation.
  void score_chunk(const std::vector<at::Tensor>& hidden, const at::Tensor& next, const at::Tensor& table) const {
    at::Tensor theirs, probabilities, likeliest;
    if (reference_ != nullptr) {
      theirs = logits(*reference_, hidden.back());
      likeliest = theirs.argmax(-1);
      log_softmax_in_place(theirs);
      figures_of(table, models_.size()).likelihood.copy_(at_ids(theirs, next));
      probabilities = theirs.exp();
    }
    for (std::size_t i = 0; i < models_.size(); ++i) {
      const auto figures = figures_of(table, i);
      auto ours = logits(*models_[i], hidden[i]);
      if (reference_ != nullptr) figures.agreement.copy_(ours.argmax(-1).eq(likeliest));
      log_softmax_in_place(ours);
      figures.likelihood.copy_(at_ids(ours, next));
      if (reference_ != nullptr) figures.divergence.copy_(ours.sub_(theirs).mul_(probabilities).sum(-1).neg_());
    }
  }

  void sum_up(const at::Tensor& table, const std::vector<std::int64_t>& lengths, const at::Tensor& ids) {
    for (std::size_t i = 0; i < models_.size(); ++i) {
      std::int64_t begin = 0;
      for (const auto length : lengths) {
        const auto row = table.narrow(1, begin, length);
        add_row(figures_of(row, i), figures_of(row, models_.size()), scores_[i]);
        begin += length;
      }
      const auto& scores = scores_[i];
      if (reference_ != nullptr) {
        check_finite(scores.reference_negative_log_likelihood.sum, *reference_, "the reference", ids);
      }
      check_finite(scores.negative_log_likelihood.sum, *models_[i], "the model", ids);
      check_finite(scores.divergence.sum, *models_[i], "the model", ids);
    }
  }

  // A row's last token has no next token, hence no likelihood.
  void add_row(const Figures& ours, const Figures& theirs, Scores& scores) const {
    const auto tokens = ours.likelihood.size(0);
    const auto predicted = scored_.last ? std::max<std::int64_t>(0, tokens - 1) : tokens;
    scores.negative_log_likelihood.add(-ours.likelihood.narrow(0, 0, predicted));
    if (reference_ == nullptr) return;
    scores.reference_negative_log_likelihood.add(-theirs.likelihood.narrow(0, 0, predicted));
    const double before = scores.divergence.sum;
    scores.divergence.add(ours.divergence);
    scores.divergence_by_row.push_back((scores.divergence.sum - before) / static_cast<double>(tokens));
    scores.agreement.add(ours.agreement);
  }

  const std::vector<const model::Decoder*>& models_;
  const model::Decoder* reference_;
  Scored scored_;
  std::vector<Scores> scores_;
};

}  // namespace

double Scores::perplexity() const { return std::exp(negative_log_likelihood.mean()); }
double Scores::perplexity_error() const { return perplexity() * negative_log_likelihood.standard_error(); }
double Scores::reference_perplexity() const { return std::exp(reference_negative_log_likelihood.mean()); }

std::vector<Scores> score(const std::vector<const model::Decoder*>& models, const model::Decoder* reference,
                          const calibrate::TokenBatch& batch, const ScoreOptions& options, ProgressSink& progress) {
  const c10::NoGradGuard no_gradients;
  Stage stage(progress, options.stage, batch.ids.numel(), "tokens");
  const auto step = options.batch_rows > 0 ? options.batch_rows : rows_in_pass(*models.front(), batch.tokens());
  Scorer scorer(models, reference, options.scored);
  for (std::int64_t begin = 0; begin < batch.samples(); begin += step) {
    const auto part = rows(batch, begin, std::min(step, batch.samples() - begin));
    scorer.add(part);
    stage.advance(part.ids.numel());
  }
  return scorer.take();
}

Scores score(const model::Decoder& model, const model::Decoder* reference, const calibrate::TokenBatch& batch,
             const ScoreOptions& options, ProgressSink& progress) {
  return std::move(score(std::vector{&model}, reference, batch, options, progress).front());
}

}  // namespace normtweak::evaluate
