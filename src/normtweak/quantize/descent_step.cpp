#include "normtweak/quantize/descent_step.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/linalg_solve_ex.h>
#include <ATen/ops/where.h>

#include <limits>

namespace normtweak::quantize {

at::Tensor live_part(const at::Tensor& hessian, double added) {
  const auto live = hessian.diagonal() > 0;
  auto damped = at::where(live.unsqueeze(0) & live.unsqueeze(1), hessian, 0.0).contiguous();
  damped.diagonal().add_(live * added);
  return damped;
}

at::Tensor pull_on(const at::Tensor& hessian, std::int64_t first, std::int64_t last) {
  const auto diagonal = hessian.diagonal().slice(0, first, last);
  auto pull = hessian.slice(1, first, last) / at::where(diagonal > 0, diagonal, 1.0);
  pull.slice(0, first, last).diagonal().zero_();
  return pull;
}

at::Tensor solve_channels(const at::Tensor& matrix, const at::Tensor& right) {
  auto ridged = matrix.clone();
  ridged.diagonal(0, 1, 2).mul_(1 + kScaleRidge).add_(std::numeric_limits<float>::min());
  return std::get<0>(at::linalg_solve_ex(ridged, right.unsqueeze(-1))).squeeze(-1);
}

at::Tensor gain_of(const at::Tensor& change, const at::Tensor& matrix, const at::Tensor& right) {
  const auto bent = at::bmm(matrix, change.unsqueeze(-1)).squeeze(-1);
  return (change * (right * 2 - bent)).sum(1);
}

}  // namespace normtweak::quantize
