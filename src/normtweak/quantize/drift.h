// Drift: how the quantized part of the model in front of a linear changed its inputs, and the weight that makes up for
// it.
//
// GPTQ rounds a weight W for the inputs x that it gets in the quantized model, toward W x. In the float model it gets
// other inputs y and gives W y; and where its output is added to a residual stream, that has drifted too, from r to s.
// What is to be small is then
//     mean |(r + W y) - (s + Ŵ x)|² = tr((V - Ŵ) H (V - Ŵ)ᵀ) + a constant
//     V = W + (W D + R) H⁻¹,   D = mean (y - x) xᵀ,   R = mean (r - s) xᵀ,   H = mean x xᵀ
// so that any quantizer does it that is given V in place of W and the same Hessian. QEP (arXiv 2504.09629) takes a
// share of such a correction, as here; GPTAQ (arXiv 2504.02692) puts the objective into GPTQ's loop.
#pragma once
#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <optional>

#include "normtweak/base/processes.h"
#include "normtweak/quantize/hessian_factor.h"

namespace normtweak::quantize {

struct Drift {
  at::Tensor inputs;    // f32 [in, in]: D
  at::Tensor residual;  // f32 [hidden, in]: R; undefined where the output is added to nothing
};

class DriftAccumulator {
 public:
  // hidden: columns of the residual stream that the outputs are added to; 0: none.
  DriftAccumulator(std::int64_t in, std::int64_t hidden, c10::Device device);

  // exact, x: [..., in]: y and x. exact_residual, residual: [..., hidden]: r and s, or undefined.
  // weights: as for HessianAccumulator::add().
  void add(const at::Tensor& exact, const at::Tensor& x, const at::Tensor& exact_residual, const at::Tensor& residual,
           const std::optional<at::Tensor>& weights = std::nullopt);

  // Adds what other processes have seen; afterwards all have the same.
  void sum_over(const Processes& processes);

  // total_weight: that of the Hessian of the same inputs.
  Drift mean(double total_weight) const;

 private:
  Drift sum_;
};

// W + share * (W D + R) H⁻¹, f32 [out, in], with the Hessian as it was damped for its factor. Dead columns stay as they
// are.
at::Tensor correct_drift(const at::Tensor& weight, const HessianFactor& factor, const Drift& drift, double share);

// What one half of the text shows.
struct DriftHalf {
  InputHessian hessian;
  Drift drift;
};

// How much of a correction carries over to text that it was not made from: the share, in [0, 1], with which the whole
// correction that either half of the text asks for does best on the other half. With little text it is small.
double share_that_carries_over(const at::Tensor& weight, const std::array<DriftHalf, 2>& halves,
                               const FactorOptions& options);

}  // namespace normtweak::quantize
