// Products of bf16 matrices on a CPU with their sums in F32.
#pragma once
#include <ATen/core/Tensor.h>

namespace normtweak {

// Whether some library does them fast here: MKL, on a CPU with AMX.
bool has_bf16_products();

// sum += x weightᵀ, for bf16 matrices x [rows, in] and weight [out, in], either of which may be a transposed view, and
// an f32 sum [rows, out] whose rows are contiguous. Products of bf16 pairs are exact in F32, but for subnormal numbers,
// which count as 0; they are added up in F32 and rounded to nearest. Returns false, and does nothing, without such a
// library, and of any other operands: empty ones, and those whose gradient is wanted.
[[nodiscard]] bool add_bf16_product(const at::Tensor& sum, const at::Tensor& x, const at::Tensor& weight);

// The same into a new tensor, which is undefined where that one returns false.
at::Tensor bf16_product(const at::Tensor& x, const at::Tensor& weight);

}  // namespace normtweak
