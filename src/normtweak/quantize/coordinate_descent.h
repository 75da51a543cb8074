// Coordinate descent on the layer error: what GPTQ rounded once, column after column, is fitted again with everything
// else known, scales and codes in turns.
//
// With H = mean x xᵀ, damped as for GPTQ, the error of a channel is (w - ŵ) H (w - ŵ)ᵀ.
// Scales: with the steps q[i] = code[i] - zero of all columns fixed, it is a parabola in the scales of the channel's
// groups, and they solve the normal equations
//     Σ_h A[g, h] s[h] = b[g],   A[g, h] = Σ_{i∈g, j∈h} q[i] H[i, j] q[j],   b[g] = Σ_{i∈g} q[i] (H w)[i]
// Codes: with all other columns fixed, it is a parabola in column k whose least point is
//     t[k] = w[k] + Σ_{j≠k} (w - ŵ)[j] H[j, k] / H[k, k]
// so that the code nearest to t[k] is the best one. CDQuant (arXiv 2406.17542) takes such steps greedily; here columns
// come in their order, as in the last step of QuIP (arXiv 2307.13304).
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/weights/affine_weight.h"

namespace normtweak::quantize {

// weight: f32 [out, in], what `rounded` stands for. hessian: f32 [in, in], symmetric, on the same device.
// added: what damping adds to every diagonal entry (HessianFactor::added). sweeps: how often scales are fitted, then
// every code chosen again. No sweep makes the error of a channel larger. Zero-points stay; columns whose diagonal is 0
// are rounded to nearest. Scales stay within half and double, rounded to their type.
void descend(weights::AffineWeight& rounded, const at::Tensor& weight, const at::Tensor& hessian, double added,
             int sweeps);

}  // namespace normtweak::quantize
