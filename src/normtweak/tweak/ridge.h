// A norm in closed form: the weight (and bias) with which the linears that read it come closest to the outputs they
// have in the float model. One ridge regression for each norm; the equations stand in docs/methods.md.
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
  double lambda = 0.1;      // pull toward the present value, as a share of the mean diagonal of the equations
  bool final_norm = false;  // the norm after the last block as well, toward the float model's own stream
  bool float_stream =
      false;  // target: what the linears put out on the float model's stream, not on the quantized one's
};

struct RidgeReport {
  std::string norm;                          // its name
  double error_before = 0, error_after = 0;  // of the linears' outputs: E|y - y_float|² / E|y_float|², as stored
};

// What `norm` multiplies with its weight. hidden: f32 [..., C] → the same shape.
at::Tensor normalised(const model::Norm& norm, const at::Tensor& hidden);

// The second moments of a normalised state n, and how they go with the float model's n at the same token.
class RidgeMoments {
 public:
  RidgeMoments(std::int64_t channels, bool float_stream, c10::Device device);

  // n, float_n: [..., C]; float_n is undefined without a float stream. mask: bool [...] or undefined.
  void add(const at::Tensor& n, const at::Tensor& float_n, const at::Tensor& mask);

  // Adds what other processes have seen; afterwards all have the same.
  void sum_over(const Processes& processes) { sums_.sum_over(processes); }

  // All f32, means over the tokens; z = (n, 1) and d = n_float - n. Those of d are undefined without a float stream.
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

// A linear that reads the norm's output, as it is now and as the float model has it.
struct ReadingLinear {
  const model::Linear *present, *floats;
};

// `norm` moved to the solution and rounded to `stored`, the type it is stored and loaded in; unchanged where the
// rounded solution is no better. float_norm: the float model's. Products run in F32, the solution in F64. Throws Error
// naming the norm if the equations are not finite, or singular because lambda is too small.
model::Norm ridge_norm(const model::Norm& norm, const model::Norm& float_norm,
                       const std::vector<ReadingLinear>& linears, const RidgeMoments::Means& means, double lambda,
                       at::ScalarType stored, RidgeReport* report);

}  // namespace normtweak::tweak
