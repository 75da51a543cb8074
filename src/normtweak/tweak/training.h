// Adam training over rows of text: shuffled each epoch, in batches, with warm-up and cosine decay.
#pragma once
#include <ATen/core/Generator.h>

#include <cmath>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>

#include "normtweak/base/device/recorded_work.h"
#include "normtweak/tweak/adam.h"
#include "normtweak/tweak/pass_size.h"
#include "normtweak/tweak/student.h"
#include "normtweak/tweak/teacher_states.h"

namespace normtweak::tweak {

// Learning rates of the changes, by group.
struct LearningRates {
  double norms = 1e-3;   // norms and biases, absolute
  double scales = 1e-3;  // scales and codebooks, relative to their size
  double zeros = 1e-3;   // zero-points, in code steps
};

struct TrainingOptions {
  LearningRates rates = {};
  double beta1 = 0.9, beta2 = 0.95;
  std::int64_t warmup_steps = 5;  // linear warm-up, then cosine decay
  std::int64_t batch_rows = 8;    // rows per step
  std::int64_t steps = 100;       // total steps: where the cosine ends
  std::uint64_t seed = 0;         // order of the rows
  // Record the forward and backward pass of a step and launch it as a whole, where that can be done: one process, a
  // GPU that holds all blocks, all rows in one pass, no experts, no padding. Memory for activations stays in use
  // between steps.
  bool records = false;
};

// Relative rate at step t of T, counted from 0: min(1, (t + 1) / warm-up) · ½ (1 + cos(π t / T))
double rate_share(std::int64_t step, const TrainingOptions& options);

struct StepReport {
  double divergence = 0;         // mean over the step's rows before the update, in nats per token
  bool finite_gradients = true;  // a backward pass may overflow where the forward pass did not

  bool is_sound() const { return std::isfinite(divergence) && finite_gradients; }
};

class Training {
 public:
  // Starts with a fresh Adam state at the current changes. Student and rows must outlive this. Processes share the rows
  // of each step, and all take the same step.
  Training(Student& student, const TeacherStates& rows, const TrainingOptions& options, const PassSize& pass,
           Processes processes = {});

  // Takes the next step. If the loss or a gradient is not finite, no float is updated; of codes that are learned, those
  // of blocks that the backward pass had finished before are.
  StepReport step();

  std::int64_t tokens() const { return tokens_; }  // training tokens so far

  // Gives the memory of recorded passes back, and forgets where they found the tables that other passes may replace.
  // The next steps record anew.
  void drop_recorded();

  // Why a recording failed, after which steps go on without; "" if none did.
  const std::string& failed_recording() const { return failed_recording_; }

 private:
  // The pass over a number of rows, and what it reads and writes.
  struct RecordedPass {
    DistillationBatch batch;
    at::Tensor sum;
    RecordedWork work;
  };

  at::Tensor next_rows();
  // Σ KL of all rows: f64 []. scale: of the gradients.
  at::Tensor backward(const at::Tensor& rows, double scale);
  at::Tensor backward(std::span<const DistillationBatch> together, double scale);
  bool may_record(const at::Tensor& rows) const;
  RecordedPass* recorded_pass(DistillationBatch& batch, double scale);

  Student& student_;
  const TeacherStates& rows_;
  TrainingOptions options_;
  PassSize pass_;
  Processes processes_;
  Adam adam_;
  at::Generator generator_;
  at::Tensor order_;  // order of the rows in this epoch
  std::int64_t step_ = 0, tokens_ = 0;
  std::map<std::int64_t, RecordedPass> recorded_;  // by their numbers of rows
  std::set<std::int64_t> run_unrecorded_;          // numbers of rows that passes have had
  std::string failed_recording_;
};

// Mean divergence over the rows in the student's current state, in nats per token. Processes share the rows.
double mean_divergence(const Student& student, const TeacherStates& rows, std::int64_t rows_at_a_time,
                       const Processes& processes = {});

}  // namespace normtweak::tweak
