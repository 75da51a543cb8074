// Matrix products in the quickest of the libraries that torch brings along.
#pragma once
#include <ATen/core/Tensor.h>

namespace normtweak {

// x weightᵀ: [..., in], [out, in] -> [..., out], both of one type and on one device. What at::linear gives, which
// also does it where a gradient is wanted. Either may be a view; to multiply by a matrix as it stands, give its
// transpose.
//
// torch leaves F32 products on the CPU to MKL, which takes twice as long on AMD's CPUs as oneDNN, the library that has
// the bf16 ones (docs/architecture.md). There oneDNN does both.
at::Tensor matmul_transposed(const at::Tensor& x, const at::Tensor& weight);

// sum += x weightᵀ, of matrices; in place where that is no slower.
void add_matmul_transposed(const at::Tensor& sum, const at::Tensor& x, const at::Tensor& weight);

}  // namespace normtweak
