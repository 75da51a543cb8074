// Coordinate descent on the layer error for codebooks; see coordinate_descent.h for that of affine weights.
//
// With all codes fixed, and all codebooks of the channel but that of one group, the error is quadratic in its entries
// c[e], which solve the normal equations
//     Σ_f A[e, f] δc[f] = b[e],   A[e, f] = Σ_{i: code e, j: code f} H[i, j],   b[e] = Σ_{i: code e} (H (w - ŵ))[i]
// over the columns i, j of the group. Then each of its columns takes the entry nearest to its optimum, as there.
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/weights/codebook_weight.h"

namespace normtweak::quantize {

// The arguments are those of descend() for affine weights. A sweep goes through the groups, each refitting its codebook
// and then choosing its codes again. No sweep increases the error of a channel. Codebooks still ascend.
void descend(weights::CodebookWeight& rounded, const at::Tensor& weight, const at::Tensor& hessian, double added,
             int sweeps);

}  // namespace normtweak::quantize
