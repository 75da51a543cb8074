// The calibration statistics of a linear's inputs x: the mean of x xᵀ, half the Hessian of the squared error of its
// output. Linears that read the same input (q, k, v; gate, up) share one. Tokens may be weighted:
//     H = Σ_t w_t x_t x_tᵀ / Σ_t w_t
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "normtweak/base/processes/processes.h"

namespace normtweak::quantize {

class HessianAccumulator {
 public:
  // `in`: the linear's input columns. The sum is kept on `device`, 4 in² bytes.
  HessianAccumulator(std::int64_t in, c10::Device device);

  // x: [..., in] of any float type; products and sums run in F32, TF32 and bf16 products off.
  // weights: [...], the weight of each token: non-negative floats, or bool (a mask: 0 or 1). A token of weight 0
  // (padding) may hold any values. Undefined: every token has weight 1.
  void add(const at::Tensor& x, const std::optional<at::Tensor>& weights = std::nullopt);

  // Sums over all processes, so that all hold the same statistics.
  void sum_over(const Processes& processes) { processes.all_reduce_sum({sum_, total_weight_}); }

  // f32 [in, in]: the weighted mean over the tokens so far. Throws Error if their total weight is 0.
  at::Tensor mean() const;
  double total_weight() const;
  at::TensorOptions options() const { return sum_.options(); }

 private:
  at::Tensor sum_;           // f32 [in, in]; what stands below the diagonal may be missing (moments.h)
  at::Tensor total_weight_;  // f64 []; on the device, so that add() does not synchronise
};

// tr(ΔW H ΔWᵀ), ΔW = weight - approximation: the mean squared error of the linear's output, summed over its channels.
double layer_error(const at::Tensor& weight, const at::Tensor& approximation, const at::Tensor& hessian);

}  // namespace normtweak::quantize
