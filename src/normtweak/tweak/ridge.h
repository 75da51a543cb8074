// A norm in closed form: the weight (and bias) that bring the outputs of the linears behind it closest to those in the
// float model. One ridge regression per norm; the equations are in docs/methods.md.
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "normtweak/model/linear.h"
#include "normtweak/model/norm.h"
#include "normtweak/quantize/hessian.h"

namespace normtweak::tweak {

struct RidgeOptions {
  double lambda = 0.1;      // ridge penalty toward the current value, relative to the mean diagonal of the equations
  bool final_norm = false;  // also the norm after the last block, toward the float model's own stream
  bool float_stream =
      false;  // target: the float linears' outputs on the float model's stream, not on the quantized one's
};

struct RidgeReport {
  std::string norm;                          // name of the norm
  double error_before = 0, error_after = 0;  // of the linears' outputs: E|y - y_float|² / E|y_float|², as stored
};

// The normalised input that `norm` multiplies by its weight. hidden: f32 [..., C] → the same shape.
at::Tensor normalised(const model::Norm& norm, const at::Tensor& hidden);

// Second moments of a normalised state n, and its cross moments with the float model's n at the same token.
class RidgeMoments {
 public:
  RidgeMoments(std::int64_t channels, bool float_stream, c10::Device device);

  // n, float_n: [..., C]; float_n is undefined without a float stream. mask: bool [...] or undefined.
  void add(const at::Tensor& n, const at::Tensor& float_n, const at::Tensor& mask);

  // Sums over all processes, so that all hold the same statistics.
  void sum_over(const Processes& processes) { sums_.sum_over(processes); }

  // All f32, means over the tokens; z = (n, 1) and d = n_float - n. Moments of d are undefined without a float stream.
  struct Means {
    at::Tensor own;    // E[z zᵀ]  [C + 1, C + 1]
    at::Tensor cross;  // E[d zᵀ]  [C, C + 1]
    at::Tensor shift;  // E[d dᵀ]  [C, C]
  };
  // Throws Error if there were no tokens.
  Means means() const;

 private:
  std::int64_t channels_;
  quantize::HessianAccumulator sums_;  // of (n, 1, d)
};

// A linear that reads the norm's output: the current one and the float model's.
struct ReadingLinear {
  const model::Linear *present, *floats;
};

// Returns `norm` set to the solution and rounded to `stored`, the dtype in which it is stored and loaded; unchanged if
// the rounded solution is no better. float_norm: the float model's norm. Products run in F32, the solver in F64. Throws
// Error naming the norm if the equations are not finite, or singular because lambda is too small.
model::Norm ridge_norm(const model::Norm& norm, const model::Norm& float_norm,
                       const std::vector<ReadingLinear>& linears, const RidgeMoments::Means& means, double lambda,
                       at::ScalarType stored, RidgeReport* report);

}  // namespace normtweak::tweak
