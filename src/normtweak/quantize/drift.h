// Drift correction: the preceding quantized layers change a linear's inputs; its weight is adjusted to compensate
// before it is rounded.
//
// GPTQ rounds a weight W for its inputs x in the quantized model, toward the output W x. In the float model its inputs
// are y and its output W y; if the output is added to a residual stream, that stream has drifted too, from r to s. The
// objective is then
//     mean |(r + W y) - (s + Ŵ x)|² = tr((V - Ŵ) H (V - Ŵ)ᵀ) + a constant
//     V = W + (W D + R) H⁻¹,   D = mean (y - x) xᵀ,   R = mean (r - s) xᵀ,   H = mean x xᵀ
// so that any quantizer minimises it if given V instead of W and the same Hessian. QEP (arXiv 2504.09629) applies a
// share of such a correction, as here; GPTAQ (arXiv 2504.02692) puts the objective into GPTQ's loop.
#pragma once
#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <optional>

#include "normtweak/base/processes/processes.h"
#include "normtweak/quantize/hessian_factor.h"

namespace normtweak::quantize {

struct Drift {
  at::Tensor inputs;       // f32 [in, in]: D
  at::Tensor residual;     // f32 [hidden, in]: R; undefined if the output is not added to a residual stream
  at::Tensor change = {};  // f32 [out, in]: W D + R as a whole, in place of both; undefined if they are there
};

class DriftAccumulator {
 public:
  // hidden: width of the residual stream that the outputs are added to; 0: none.
  // weight: [out, in] in the compute dtype, of the only linear that reads these inputs, which adds its outputs to the
  // stream; undefined: D and R are kept apart. With it W D + R is summed as mean ((r + W y) - s) xᵀ - W H, which takes
  // fewer products where out < in. That W is rounded to the compute dtype changes W D by as small a share.
  DriftAccumulator(std::int64_t in, std::int64_t hidden, c10::Device device, at::Tensor weight = {});

  // exact, x: [..., in]: y and x. exact_residual, residual: [..., hidden]: r and s, or undefined.
  // weights: as for HessianAccumulator::add().
  void add(const at::Tensor& exact, const at::Tensor& x, const at::Tensor& exact_residual, const at::Tensor& residual,
           const std::optional<at::Tensor>& weights = std::nullopt);

  // Sums over all processes, so that all hold the same statistics.
  void sum_over(const Processes& processes);

  // hessian, total_weight: of the same x and weights.
  Drift mean(const at::Tensor& hessian, double total_weight) const;

 private:
  at::Tensor weight_;     // undefined: the first two sums are kept, otherwise the last
  at::Tensor exact_sum_;  // f32 [in, in]: Σ y xᵀ, of which Σ x xᵀ is left to subtract: one product instead of two
  at::Tensor residual_sum_;  // f32 [hidden, in]: Σ (r - s) xᵀ
  at::Tensor output_sum_;    // f32 [out, in]: Σ (r + W y - s) xᵀ
};

// W + share * (W D + R) H⁻¹, f32 [out, in], with the damped Hessian of the factor. Dead columns stay unchanged.
at::Tensor correct_drift(const at::Tensor& weight, const HessianFactor& factor, const Drift& drift, double share);

// Statistics of one half of the text.
struct DriftHalf {
  InputHessian hessian;
  Drift drift;
  double share = 0.5;  // of the text's total weight
};

// How well a correction generalises to other text, by two-fold cross-validation: the share in [0, 1] of each half's
// full correction that minimises the error on the other half, over both directions. With little text it is small.
double share_that_carries_over(const at::Tensor& weight, const std::array<DriftHalf, 2>& halves,
                               const FactorOptions& options);

// correct_drift() for the whole text, whose Hessian is given, by `most` of the share that carries over.
at::Tensor correct_drift(const at::Tensor& weight, const InputHessian& hessian, const std::array<DriftHalf, 2>& halves,
                         const FactorOptions& options, double most);

}  // namespace normtweak::quantize
