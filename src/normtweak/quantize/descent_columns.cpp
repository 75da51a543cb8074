#include "normtweak/quantize/descent_columns.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/where.h>

#include <algorithm>

#include "normtweak/base/device/matrix_product.h"
#include "normtweak/quantize/gptq_run.h"

namespace normtweak::quantize {

DescentColumns::DescentColumns(const at::Tensor& weight, const at::Tensor& hessian)
    : hessian_(hessian), weight_(padded_columns(weight)), out_(weight.size(0)) {}

void DescentColumns::take_values(const at::Tensor& values) {
  values_ = values;
  errors_ = weight_ - values_;
}

at::Tensor DescentColumns::columns(std::int64_t first, std::int64_t last) const {
  return at::arange(first, last, weight_.options().dtype(at::kLong));
}

at::Tensor DescentColumns::felt_by(std::int64_t first, std::int64_t last) const {
  return matmul_transposed(hessian_.slice(0, first, last), errors_.t());
}

void DescentColumns::round_columns(std::int64_t first, std::int64_t last, const ColumnGrids& grids,
                                   const at::Tensor& steps) {
  const auto pull = pull_on(hessian_, first, last);
  const auto target = weight_.slice(0, first, last) + matmul_transposed(pull.t(), errors_.t());
  round_to(target, first, grids, pull.slice(0, first, last).contiguous(), steps);
}

void DescentColumns::round_columns(std::int64_t first, std::int64_t last, const ColumnGrids& grids,
                                   const at::Tensor& steps, const at::Tensor& felt) {
  const auto diagonal = hessian_.diagonal().slice(0, first, last).unsqueeze(1);
  const auto others = felt / at::where(diagonal > 0, diagonal, 1.0) - errors_.slice(0, first, last) * (diagonal > 0);
  const auto pull = pull_on(hessian_, first, last).slice(0, first, last).contiguous();
  round_to(weight_.slice(0, first, last) + others, first, grids, pull, steps);
}

// GPTQ feeds back the change from the weight; here it is the change from the previous quantized value.
void DescentColumns::round_to(const at::Tensor& target, std::int64_t first, const ColumnGrids& grids,
                              const at::Tensor& feedback, const at::Tensor& steps) {
  const auto last = first + target.size(0);
  const auto moved = at::empty_like(target);
  round_block({.target = target,
               .original = values_.slice(0, first, last),
               .grids = grids,
               .feedback = feedback,
               .steps = steps,
               .errors = moved});
  errors_.slice(0, first, last).add_(moved);
  values_.slice(0, first, last).sub_(moved);
}

std::int64_t descent_slice(const at::Tensor& weight, std::int64_t unknowns) {
  constexpr std::int64_t kNumbers = std::int64_t{1} << 26;
  if (weight.is_cpu()) return kRoundedChannels;
  return std::max<std::int64_t>(1, kNumbers / (unknowns * unknowns) / kRoundedLanes) * kRoundedLanes;
}

}  // namespace normtweak::quantize
