// Coordinate descent on the layer error: after GPTQ has rounded each column once, scales and codes are refitted in
// turns, each with everything else fixed.
//
// With H = mean x xᵀ, damped as for GPTQ, the error of a channel is (w - ŵ) H (w - ŵ)ᵀ.
// Scales: with q[i] = code[i] - zero of all columns fixed, the error is quadratic in the scales of the channel's
// groups, which solve the normal equations
//     Σ_h A[g, h] s[h] = b[g],   A[g, h] = Σ_{i∈g, j∈h} q[i] H[i, j] q[j],   b[g] = Σ_{i∈g} q[i] (H w)[i]
// Codes: with all other columns fixed, the error is a parabola in column k with its minimum at
//     t[k] = w[k] + Σ_{j≠k} (w - ŵ)[j] H[j, k] / H[k, k]
// so that the code nearest to t[k] is optimal. CDQuant (arXiv 2406.17542) takes such steps greedily; here columns are
// visited in order, as in the last step of QuIP (arXiv 2307.13304).
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/weights/affine_weight.h"

namespace normtweak::quantize {

// weight: f32 [out, in], the weight that `rounded` approximates. hessian: f32 [in, in], symmetric, on the same device.
// added: what damping adds to every diagonal entry (HessianFactor::added). sweeps: how often scales are refitted and
// then every code is chosen again. No sweep increases the error of a channel. Zero-points stay fixed; columns whose
// diagonal is 0 are rounded to nearest. Each new scale is rounded to its dtype and stays between half and twice the old
// one.
void descend(weights::AffineWeight& rounded, const at::Tensor& weight, const at::Tensor& hessian, double added,
             int sweeps);

}  // namespace normtweak::quantize
