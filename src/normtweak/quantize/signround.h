// SignRound (arXiv 2309.05516): rounding learned block by block. Round to nearest is where it starts; then offsets of
// the rounding and shares of each group's range are trained by the sign of the gradient, so that the block's output
// comes close to the float block's.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "normtweak/base/processes/processes.h"
#include "normtweak/model/block.h"
#include "normtweak/quantize/grid.h"
#include "normtweak/quantize/quantizers.h"
#include "normtweak/weights/affine_weight.h"

namespace normtweak::quantize {

// The rounding of one weight, during training:
//     code = clamp(round(W / s + z + V), 0, 2^bits - 1),   V in [-1/2, 1/2]
// with the grid (s, z) of the range [β low, α high], α and β in [1/2, 1]. A symmetric grid has one share, α.
class LearnedRounding {
 public:
  // weight: f32 [out, in]. Starts with V = 0, α = β = 1: round to nearest.
  LearnedRounding(const at::Tensor& weight, const AffineOptions& options);

  weights::AffineWeight weight() const;

  // Moves V, α and β by `rate` against the sign of their gradients, which follow from that of the dequantized weight,
  // [out, in] in any float type. Rounding passes gradients unchanged.
  void step(const at::Tensor& gradient, double rate);

  void keep();       // as the best so far
  void take_best();  // of those that were kept

 private:
  struct State {
    at::Tensor offsets;    // V: f32 [out, groups, columns of a group]
    at::Tensor low, high;  // β, α: f32 [out, groups]
  };
  Grid grid() const;

  at::Tensor groups_;  // W, f32 [out, groups, columns of a group]
  AffineOptions options_;
  State state_, best_;
};

// What a block is trained on.
struct BlockText {
  at::Tensor inputs, targets;  // f32 [samples, tokens, hidden]; targets: the float block's output
  at::Tensor weights;          // [samples, tokens]: of tokens in the loss, 0 for padding; undefined: all equal
  std::int64_t rows_at_a_time = 1;
};

// Means over the tokens of the squared error of the block's output.
struct SignRoundReport {
  double loss_before = 0, loss_after = 0;
};

// exact: the block with F32 weights; rounded: with those of `plans` rounded to nearest, and everything else as it will
// be; plans: one per linear of the block, nullopt for those that this does not learn. Each iteration takes 8 rows,
// drawn alike in every run, and a step of the rate (1 - iteration / iterations); the state with the least loss on its 8
// rows counts if it has a smaller loss than `rounded` on all rows. Processes share the rows. Throws Error if a loss is
// not finite.
model::Block sign_round(const model::Block& exact, const model::Block& rounded,
                        const std::vector<std::optional<LinearPlan>>& plans, const BlockText& text,
                        const model::BlockContext& context, const Processes& processes, SignRoundReport* report);

}  // namespace normtweak::quantize
