#include "normtweak/evaluate/token_figures.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include "normtweak/evaluate/logits.h"
#include "normtweak/model/forward_pass.h"
#include "normtweak/model/head.h"

namespace normtweak::evaluate {
namespace {

constexpr std::int64_t kFigures = 4;  // lines of the table for each model

TokenFigures figures_of(const at::Tensor& table, std::size_t model) {
  const auto first = static_cast<std::int64_t>(model) * kFigures;
  return {table[first], table[first + 1], table[first + 2], table[first + 3]};
}

const model::BranchedRows* branches_of(const Pass& pass) { return pass.branches ? &*pass.branches : nullptr; }

// f32 [positions, hidden]
at::Tensor hidden_states(const model::Decoder& model, const Pass& pass) {
  const auto hidden = last_hidden_state(model, pass.ids, {.branches = branches_of(pass)}).flatten(0, 1);
  return pass.places.defined() ? hidden.index_select(0, pass.places) : hidden;
}

class Chunks {
 public:
  Chunks(const std::vector<const model::Decoder*>& models, const TokenFigureOptions& options)
      : models_(models), reference_(options.reference), greedy_(options.greedy) {}

  // hidden: f32 [tokens, hidden], of each model and then of the reference. Logits are overwritten by derived values,
  // since memory traffic dominates the computation.
  void score(const std::vector<at::Tensor>& hidden, const at::Tensor& next, const at::Tensor& table) const {
    at::Tensor theirs, probabilities, likeliest;
    if (reference_ != nullptr) {
      const auto figures = figures_of(table, models_.size());
      theirs = logits(*reference_, hidden.back());
      likeliest = theirs.argmax(-1);
      if (greedy_) figures.greedy.copy_(likeliest.eq(next));
      log_softmax_in_place(theirs);
      figures.likelihood.copy_(at_ids(theirs, next));
      probabilities = theirs.exp();
    }
    for (std::size_t i = 0; i < models_.size(); ++i) {
      const auto figures = figures_of(table, i);
      auto ours = logits(*models_[i], hidden[i]);
      if (greedy_ || reference_ != nullptr) {
        const auto first = ours.argmax(-1);
        if (greedy_) figures.greedy.copy_(first.eq(next));
        if (reference_ != nullptr) figures.agreement.copy_(first.eq(likeliest));
      }
      log_softmax_in_place(ours);
      figures.likelihood.copy_(at_ids(ours, next));
      if (reference_ != nullptr) figures.divergence.copy_(ours.sub_(theirs).mul_(probabilities).sum(-1).neg_());
    }
  }

 private:
  const std::vector<const model::Decoder*>& models_;
  const model::Decoder* reference_;
  bool greedy_;
};

// Sums are enough: one value that is not finite makes them so.
void check(const std::vector<TokenFigures>& figures, const std::vector<const model::Decoder*>& models,
           const model::Decoder* reference, const Pass& pass) {
  const auto expect_finite = [&](double sum, const model::Decoder& model, const char* whose) {
    check_finite(sum, model, whose, pass.ids, branches_of(pass));
  };
  const auto sum = [](const at::Tensor& values) { return values.sum(at::kDouble).item<double>(); };
  if (reference != nullptr) expect_finite(sum(figures.back().likelihood), *reference, "the reference");
  const auto whose = models.size() > 1 || reference != nullptr ? "the model" : "";
  for (std::size_t i = 0; i < models.size(); ++i) {
    expect_finite(sum(figures[i].likelihood), *models[i], whose);
    expect_finite(sum(figures[i].divergence), *models[i], whose);
  }
}

}  // namespace

std::vector<TokenFigures> token_figures(const std::vector<const model::Decoder*>& models, const Pass& pass,
                                        const TokenFigureOptions& options) {
  const auto* reference = options.reference;
  const auto positions = pass.next.size(0);
  const auto count = models.size() + (reference != nullptr ? 1 : 0);
  const auto table =
      at::zeros({static_cast<std::int64_t>(count) * kFigures, positions}, pass.next.options().dtype(at::kFloat));
  std::vector<at::Tensor> hidden;
  for (const auto* model : models) hidden.push_back(hidden_states(*model, pass));
  if (reference != nullptr) hidden.push_back(hidden_states(*reference, pass));
  const Chunks chunks(models, options);
  for_chunks(*models.front(), positions, [&](std::int64_t begin, std::int64_t tokens) {
    std::vector<at::Tensor> part;
    for (const auto& states : hidden) part.push_back(states.narrow(0, begin, tokens));
    chunks.score(part, pass.next.narrow(0, begin, tokens), table.narrow(1, begin, tokens));
  });
  const auto on_host = table.cpu();
  std::vector<TokenFigures> figures;
  for (std::size_t i = 0; i < count; ++i) figures.push_back(figures_of(on_host, i));
  check(figures, models, reference, pass);
  return figures;
}

}  // namespace normtweak::evaluate
