// Matrix products in the fastest of the libraries that ship with torch.
#pragma once
#include <ATen/core/Tensor.h>

namespace normtweak {

// x weightᵀ: [..., in], [out, in] -> [..., out], of the same dtype and on the same device. Equivalent to at::linear,
// which is used if a gradient is required. Either argument may be a view; to multiply by an untransposed matrix, pass
// its transpose.
//
// torch runs F32 products on the CPU in MKL, which takes twice as long on AMD CPUs as oneDNN, the library that torch
// uses for bf16 (docs/architecture.md). On AMD CPUs oneDNN runs both here.
at::Tensor matmul_transposed(const at::Tensor& x, const at::Tensor& weight);

// x weightᵀ, for matrices, in F32 where the device hands over the sums of a product of 16-bit numbers: on a GPU and, of
// bf16, on a CPU with AMX unless a gradient is wanted. Elsewhere in their dtype.
at::Tensor wide_matmul_transposed(const at::Tensor& x, const at::Tensor& weight);

// sum += x weightᵀ, for matrices of the same dtype as the sum, or of bf16 if the sum is F32, whose products are then
// exact; without a temporary product unless oneDNN is faster.
void add_matmul_transposed(const at::Tensor& sum, const at::Tensor& x, const at::Tensor& weight);

}  // namespace normtweak
