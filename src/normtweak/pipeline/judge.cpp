#include "normtweak/pipeline/judge.h"

#include <cmath>
#include <utility>

namespace normtweak::pipeline {
namespace {

// What is scored with the float model as its reference: the quantized model, and the tweaked one if there is one.
std::vector<const model::Decoder*> both(const model::Decoder& untouched, const model::Decoder* tweaked) {
  if (tweaked == nullptr) return {&untouched};
  return {&untouched, tweaked};
}

Perplexities perplexities(const TextFigures& figures) {
  return {.exact = figures.quantized.reference_perplexity(),
          .quantized = figures.quantized.perplexity(),
          .tweaked = figures.tweaked.perplexity(),
          .error = figures.tweaked.perplexity_error()};
}

TextFigures score_both(const model::Decoder& exact, const model::Decoder& untouched, const model::Decoder* tweaked,
                       const evaluate::Windows& text, std::string_view stage, ProgressSink& progress) {
  const evaluate::ScoreOptions options = {.batch_rows = 0, .stage = stage, .scored = text.scored};
  TextFigures figures;
  auto scores = evaluate::score(both(untouched, tweaked), &exact, text.rows, options, progress);
  figures.tweaked = scores.back();
  figures.quantized = std::move(scores.front());
  figures.tokens_scored = figures.quantized.negative_log_likelihood.count;
  figures.perplexity = perplexities(figures);
  return figures;
}

TextFigures score_both(const model::Decoder& exact, const model::Decoder& untouched, const model::Decoder* tweaked,
                       const evaluate::DocumentText& text, std::string_view stage, ProgressSink& progress) {
  const auto models = both(untouched, tweaked);
  const auto scores = score_continuations(models, text.windows, {.reference = &exact, .stage = stage}, progress);
  const auto& of_tweaked = scores[models.size() - 1];
  const auto of_float = document_loss(text, scores.back()), before = document_loss(text, scores.front()),
             after = document_loss(text, of_tweaked);
  const auto perplexities_of = [&](evaluate::LossRate evaluate::DocumentLoss::*unit) -> Perplexities {
    return {.exact = (of_float.*unit).perplexity(),
            .quantized = (before.*unit).perplexity(),
            .tweaked = (after.*unit).perplexity(),
            .error = (after.*unit).perplexity_error()};
  };
  const auto compared = [](const std::vector<evaluate::ContinuationScore>& of_windows) {
    const auto [divergence, agreement] = evaluate::comparison(of_windows);
    evaluate::Scores sums;
    sums.divergence = divergence;
    sums.agreement = agreement;
    return sums;
  };
  TextFigures figures;
  figures.tokens_scored = text.tokens_scored();
  figures.perplexity = perplexities_of(&evaluate::DocumentLoss::words);
  figures.byte_perplexity = perplexities_of(&evaluate::DocumentLoss::bytes);
  figures.quantized = compared(scores.front());
  figures.tweaked = compared(of_tweaked);
  return figures;
}

// Names the kind of text, so that self-generated text is not mistaken for a benchmark.
std::string held_out_name(const calibrate::TokenBatch& rows) {
  const auto found = rows.provenance.find("strategy");
  if (found == rows.provenance.end()) return "held-out rows of the calibration file";
  if (found->second == "text") return "held-out rows of real text";
  if (found->second == "random-tokens") return "held-out rows of random tokens";
  return "held-out text that the model wrote";
}

}  // namespace

Judged judge_on_held_out(const model::Decoder& exact, const model::Decoder& untouched,
                         const std::optional<Tweaked>& tweaked, const tweak::TextSplit& text, bool unguarded,
                         ProgressSink& progress) {
  Judged judged = {.kept = untouched, .held_out = {}, .rejected = {}, .verdict = {}};
  auto& figures = judged.held_out;
  const evaluate::Windows rows = {.rows = text.confirm, .scored = {}};
  figures = score_both(exact, untouched, tweaked ? &tweaked->model : nullptr, rows, "judge", progress);
  figures.name = held_out_name(text.confirm);
  figures.protocol = "rows";
  if (!tweaked) return judged;
  const auto &before = figures.quantized.divergence_by_row, &after = figures.tweaked.divergence_by_row;
  judged.verdict = tweaked->won ? tweak::judge(before, after)
                                : tweak::judge_unchosen(before, after, tweaked->name, text.select.samples());
  judged.kept_tweaked = judged.verdict.accepted;
  if (unguarded && !judged.kept_tweaked && std::isfinite(judged.verdict.gain)) {
    judged.kept_tweaked = true;
    judged.verdict.reason = tweak::unguarded_reason(judged.verdict);
  }
  if (judged.kept_tweaked) {
    judged.kept = tweaked->model;
  } else {
    judged.rejected = std::exchange(figures.tweaked, figures.quantized);  // figures are those of the saved state
    figures.perplexity = perplexities(figures);
  }
  return judged;
}

std::vector<TextFigures> score_external(const model::Decoder& exact, const model::Decoder& untouched,
                                        const model::Decoder* tweaked, const std::vector<ExternalTokens::Text>& texts,
                                        ProgressSink& progress) {
  std::vector<TextFigures> all;
  for (const auto& text : texts) {
    all.push_back(std::visit(
        [&](const auto& cut) { return score_both(exact, untouched, tweaked, cut, "evaluate " + text.name, progress); },
        text.content));
    all.back().name = text.name;
    all.back().protocol = text.protocol;
  }
  return all;
}

LambadaFigures score_lambada(const model::Decoder& exact, const model::Decoder& untouched,
                             const model::Decoder* tweaked, const ExternalTokens& external, ProgressSink& progress) {
  const auto stage = "evaluate " + external.lambada_name;
  const auto score = [&](const model::Decoder& model) {
    return evaluate::score_lambada(model, external.lambada, {.batch_rows = 0, .stage = stage}, progress);
  };
  LambadaFigures figures = {
      .name = external.lambada_name, .exact = score(exact), .quantized = score(untouched), .tweaked = {}};
  figures.tweaked = tweaked == nullptr ? figures.quantized : score(*tweaked);
  return figures;
}

}  // namespace normtweak::pipeline
