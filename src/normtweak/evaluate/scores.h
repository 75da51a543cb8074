// How well a model predicts rows of tokens, and how far it is from a reference.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "normtweak/base/progress.h"
#include "normtweak/calibrate/token_batch.h"
#include "normtweak/model/decoder.h"

namespace normtweak::evaluate {

// Mean and standard error of a quantity over tokens.
struct TokenStatistic {
  double sum = 0, squares = 0;
  std::int64_t count = 0;

  double mean() const;
  double standard_error() const;  // as if tokens were independent, as llama.cpp's perplexity tool has it
  void add(const at::Tensor& values);
};

struct Scores {
  TokenStatistic negative_log_likelihood;            // nats, of each next token
  TokenStatistic reference_negative_log_likelihood;  // the same of the reference
  TokenStatistic divergence;                         // KL(reference ‖ model) in nats, at every token
  TokenStatistic agreement;                          // 1 where both hold the same next token likeliest
  std::vector<double> divergence_by_row;             // mean over each row's tokens

  double perplexity() const;
  double perplexity_error() const;  // one standard error
  double reference_perplexity() const;
};

struct ScoreOptions {
  std::int64_t batch_rows = 0;  // rows in one pass; 0: chosen for the device
  std::string_view stage = "evaluate";
};

// `reference`: null when only the model itself is to be scored. Logits exist for a chunk of tokens at a time.
// Throws Error if the logits are not finite.
Scores score(const model::Decoder& model, const model::Decoder* reference, const calibrate::TokenBatch& batch,
             const ScoreOptions& options, ProgressSink& progress);

}  // namespace normtweak::evaluate
