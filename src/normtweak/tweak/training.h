// Steps of Adam over rows of text: shuffled in each pass, taken in batches, with a rate that warms up and falls.
#pragma once
#include <ATen/core/Generator.h>

#include <cmath>
#include <cstdint>

#include "normtweak/tweak/adam.h"
#include "normtweak/tweak/pass_size.h"
#include "normtweak/tweak/student.h"
#include "normtweak/tweak/taught_rows.h"

namespace normtweak::tweak {

// Learning rates of changes, by what is changed.
struct LearningRates {
  double norms = 1e-3;   // norms and biases, absolute
  double scales = 1e-3;  // scales and codebooks, relative to their size
  double zeros = 1e-3;   // zero-points, in steps of the codes
};

struct TrainingOptions {
  LearningRates rates = {};
  double beta1 = 0.9, beta2 = 0.95;
  std::int64_t warmup_steps = 5;  // the rate rises linearly over these, then falls as a cosine
  std::int64_t batch_rows = 8;    // rows in one step
  std::int64_t steps = 100;       // in all: where the cosine ends
  std::uint64_t seed = 0;         // order of the rows
};

// rate at step t of T, from 0, as a share: min(1, (t + 1) / warm-up) · ½ (1 + cos(π t / T))
double rate_share(std::int64_t step, const TrainingOptions& options);

struct StepReport {
  double divergence = 0;         // mean of the step's rows before it, in nats per token
  bool finite_gradients = true;  // a backward pass may overflow where the forward pass did not

  bool is_sound() const { return std::isfinite(divergence) && finite_gradients; }
};

class Training {
 public:
  // Starts Adam anew, from the changes as they are. Student and rows must outlive this. Processes share the rows of
  // each step, and all take the same step.
  Training(Student& student, const TaughtRows& rows, const TrainingOptions& options, const PassSize& pass,
           Processes processes = {});

  // Takes the next step; where its loss or a gradient is not finite, nothing moves.
  StepReport step();

  std::int64_t tokens() const { return tokens_; }  // that steps have seen

 private:
  at::Tensor next_rows();

  Student& student_;
  const TaughtRows& rows_;
  TrainingOptions options_;
  PassSize pass_;
  Processes processes_;
  Adam adam_;
  at::Generator generator_;
  at::Tensor order_;  // of the rows in this pass
  std::int64_t step_ = 0, tokens_ = 0;
};

// Mean divergence of the rows with the student as it is, in nats per token. Processes share the rows.
double mean_divergence(const Student& student, const TaughtRows& rows, std::int64_t rows_at_a_time,
                       const Processes& processes = {});

}  // namespace normtweak::tweak
