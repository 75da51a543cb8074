// How well models predict rows of tokens, and how far they are from a reference.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "normtweak/base/progress.h"
#include "normtweak/calibrate/token_batch.h"
#include "normtweak/evaluate/statistic.h"
#include "normtweak/model/decoder.h"

namespace normtweak::evaluate {

struct Scores {
  Statistic negative_log_likelihood;            // nats, of each next token
  Statistic reference_negative_log_likelihood;  // the same of the reference
  Statistic divergence;                         // KL(reference ‖ model) in nats, at every position scored
  Statistic agreement;                          // 1 if both have the same likeliest next token
  std::vector<double> divergence_by_row;        // mean over each row's positions; empty without a reference

  double perplexity() const;
  double perplexity_error() const;  // one standard error
  double reference_perplexity() const;
};

// The positions of a row whose figures count.
struct Scored {
  std::int64_t first = 0;  // and those after it
  bool last = true;        // also a row's last token, which predicts nothing: its divergence counts
};

struct ScoreOptions {
  std::int64_t batch_rows = 0;  // rows per pass; 0: chosen for the device
  std::string_view stage = "evaluate";
  Scored scored = {};
};

// The scores of each of `models`, which share device and vocabulary, with the reference run once for all of them.
// reference: null to score the models alone. Logits exist for one chunk of tokens at a time, and the host synchronises
// with the device once per pass. Throws Error if logits are not finite.
std::vector<Scores> score(const std::vector<const model::Decoder*>& models, const model::Decoder* reference,
                          const calibrate::TokenBatch& batch, const ScoreOptions& options, ProgressSink& progress);

// The same for one model.
Scores score(const model::Decoder& model, const model::Decoder* reference, const calibrate::TokenBatch& batch,
             const ScoreOptions& options, ProgressSink& progress);

}  // namespace normtweak::evaluate
