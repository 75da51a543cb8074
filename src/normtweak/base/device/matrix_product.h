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

// sum += x weightᵀ, for matrices; without a temporary product unless oneDNN is faster.
void add_matmul_transposed(const at::Tensor& sum, const at::Tensor& x, const at::Tensor& weight);

}  // namespace normtweak
