// The normal equations of the floats of llama.cpp's blocks: a channel's dequantized weight is linear in them.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace normtweak::quantize {

// For the change x of a channel's floats, all its scales and then all its minima:  A x = b  with
//     A[i, j] = f_i^T H f_j,   b[i] = f_i^T H e,
// f_i being what multiplies float i in the columns of its block (0 elsewhere), and e the error of the channel.
struct BlockEquations {
  at::Tensor matrix, right;  // f64 [out, floats, floats], [out, floats]
};

// factors: of the scales, and of the minima if there are any, f32 [in, out]. hessian: f32 [in, in]. errors: f32 [in,
// out]. block_size: input columns.
BlockEquations block_equations(const std::vector<at::Tensor>& factors, const at::Tensor& hessian,
                               const at::Tensor& errors, std::int64_t block_size);

}  // namespace normtweak::quantize
