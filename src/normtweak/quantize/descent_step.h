// What coordinate descent needs of the Hessian, whatever the grid; see coordinate_descent.h.
#pragma once
#include <ATen/core/Tensor.h>

namespace normtweak::quantize {

// Relative damping of the normal equations' diagonal: scales that the text barely determines stay put.
inline constexpr double kScaleRidge = 1e-3;

// The damped Hessian without dead columns, f32 [in, in].
at::Tensor live_part(const at::Tensor& hessian, double added);

// hessian: live_part(). f32 [in, last - first]: H[j, k] / H[k, k], and 0 for j = k.
at::Tensor pull_on(const at::Tensor& hessian, std::int64_t first, std::int64_t last);

// The change of x that solves A x = b, of each channel: f64 [out, n, n] and [out, n] → f64 [out, n].
at::Tensor solve_channels(const at::Tensor& matrix, const at::Tensor& right);

// [out]: by how much the error falls with this change.
at::Tensor gain_of(const at::Tensor& change, const at::Tensor& matrix, const at::Tensor& right);

}  // namespace normtweak::quantize
