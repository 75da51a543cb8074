// How far the outputs of each block have moved from those of the reference on the same text: the means and variances
// of their channels, which Norm Tweaking aligns (arXiv 2309.02784, figure 1 and equation 2), and the squared error.
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>

#include "normtweak/evaluate/task.h"

namespace normtweak::evaluate {

// Sums over the tokens seen so far, in F64.
class BlockDrift {
 public:
  // of the model and of the reference: f32 [rows, tokens, hidden]
  void add(const at::Tensor& ours, const at::Tensor& theirs);

  // Of each channel c with means μ and variances σ² (of all tokens, not of a sample), model minus reference. Figures
  // "block INDEX ...":
  //   mean_shift, variance_shift            mean over channels of Δμ, of Δσ², signed
  //   mean_distance, variance_distance      of |Δμ|, of |Δσ²|
  //   mean_relative, variance_relative      Σ |Δμ| / Σ |μ of the reference|, and the same of σ²
  //   mse                                   mean over tokens of the squared error, averaged over channels
  //   mse_relative                          Σ (model - reference)² / Σ reference²
  // Errors are those of a mean over channels, of mse over tokens; relative figures have none.
  std::vector<Figure> figures(const FigureSource& source, int index) const;

  ChannelDrift channels() const;

 private:
  struct Sums {
    at::Tensor values, squares;  // f64 [hidden]
  };
  // Of each channel: f64 [hidden].
  struct Moments {
    at::Tensor mean, variance;
  };
  static void add(const at::Tensor& values, Sums& sums);
  Moments moments(const Sums& sums) const;

  std::int64_t tokens_ = 0;
  Sums ours_, theirs_;
  Statistic error_;  // squared, of each token
};

// Over the windows of a text. Both models go through the text block by block, side by side. Throws Error if there is
// no reference, or if both differ in their number of blocks or the width of their hidden states.
std::unique_ptr<Task> drift_task(const TaskOrder& order, const TaskInput& input, ProgressSink& progress);

}  // namespace normtweak::evaluate
