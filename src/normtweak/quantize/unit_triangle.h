// Equations with the unit triangular factor of a Hessian, solved by blocks: all but a share of kSolvedColumns / columns
// of the work is matrix products, which a GPU's tensor cores take (product_precision.h), and a library's triangular
// solver does not.
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

namespace normtweak::quantize {

constexpr std::int64_t kSolvedColumns = 512;

// upper: f32 [n, n], upper triangular with a unit diagonal. The inverses of its diagonal's blocks of kSolvedColumns
// rows, the last of which may be smaller; in full F32.
std::vector<at::Tensor> inverse_blocks(const at::Tensor& upper);

// X with X upper = right, f32 [rows, n].
at::Tensor solve_upper(const at::Tensor& right, const at::Tensor& upper, const std::vector<at::Tensor>& inverses);

// X with X upperᵀ = right.
at::Tensor solve_transposed(const at::Tensor& right, const at::Tensor& upper, const std::vector<at::Tensor>& inverses);

}  // namespace normtweak::quantize
