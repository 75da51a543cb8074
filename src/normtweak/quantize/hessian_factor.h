// The Hessian prepared for GPTQ: damped, ordered and factored once for all linears that read the same input.
//
// GPTQ (arXiv 2210.17323) takes rows of the Cholesky factor of the inverse. A factor of the Hessian itself gives the
// same rounding (QuIP, arXiv 2307.13304, section 3 and theorem 6), without any inverse:
//     H = M D Mᵀ,   M upper triangular with a unit diagonal, D diagonal
//     Ŵ[:, k] = round(W[:, k] + Σ_{j<k} (W - Ŵ)[:, j] M[j, k])
//     tr((W - Ŵ) H (W - Ŵ)ᵀ) = Σ_k D[k] |what rounding column k changed|²
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

namespace normtweak::quantize {

struct FactorOptions {
  double damping = 0.01;   // added to the diagonal, as a share of its mean; multiplied by 10 until it suffices
  bool act_order = false;  // columns in order of decreasing diagonal: the most important first
};

struct HessianFactor {
  at::Tensor feedback;                    // f32 [in, in]: M, in the order of `order`; zero below the diagonal
  std::vector<at::Tensor> inverses = {};  // of blocks on M's diagonal: inverse_blocks()
  at::Tensor weights;                     // f32 [in]: D; 0 for dead columns
  at::Tensor live;                        // f32 [in]: 1, or 0 for dead columns, whose input was 0 for every token
  at::Tensor order;                       // i64 [in]: the column at each position; undefined without act_order
  double damping = 0;                     // the share that was used
  double added = 0;                       // its absolute value, added to every diagonal entry
};

// hessian: f32 [in, in], symmetric. Dead columns take no part: their rounding errors are not fed back. Throws Error if
// the Hessian is not finite, or not positive definite even with damping 1.
HessianFactor factor_hessian(const at::Tensor& hessian, const FactorOptions& options);

// A Hessian whose factor is computed on first use and kept for the next linear that reads the same input. Not
// thread-safe.
class InputHessian {
 public:
  InputHessian() = default;
  InputHessian(at::Tensor mean) : mean_(std::move(mean)) {}  // NOLINT: implicit conversion from a tensor is intended

  bool defined() const { return mean_.defined(); }
  const at::Tensor& mean() const { return mean_; }  // f32 [in, in]: HessianAccumulator::mean()
  const HessianFactor& factor(const FactorOptions& options) const;

 private:
  at::Tensor mean_;
  mutable FactorOptions made_for_;
  mutable HessianFactor factor_;
};

}  // namespace normtweak::quantize
