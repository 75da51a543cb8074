#include "normtweak/quantize/descent_columns.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/where.h>

#include <algorithm>

#include "normtweak/base/device/matrix_product.h"
#include "normtweak/quantize/gptq_run.h"

namespace normtweak::quantize {
namespace {

// Whose pull is computed at a time. On a GPU some blocks of kRoundedColumns, so that it does not wait for its launches;
// on a CPU each thread holds a pull of its own.
std::int64_t pulled_columns(c10::Device device) { return device.is_cpu() ? kRoundedColumns : 8 * kRoundedColumns; }

}  // namespace

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
  const auto shares = pull_on_columns(first, last);
  round_to(matmul_transposed(shares.t(), errors_.t()), first, grids, shares.slice(0, first, last), steps);
}

void DescentColumns::round_columns(std::int64_t first, std::int64_t last, const ColumnGrids& grids,
                                   const at::Tensor& steps, const at::Tensor& felt) {
  const auto diagonal = hessian_.diagonal().slice(0, first, last).unsqueeze(1);
  const auto others = felt / at::where(diagonal > 0, diagonal, 1.0) - errors_.slice(0, first, last) * (diagonal > 0);
  round_to(others, first, grids, pull_on_columns(first, last).slice(0, first, last), steps);
}

at::Tensor DescentColumns::pull_on_columns(std::int64_t first, std::int64_t last) {
  if (!pulls_.defined() || first < pulls_first_ || last > pulls_first_ + pulls_.size(1)) {
    pulls_first_ = first;
    pulls_ = pull_on(hessian_, first, std::min(in(), first + pulled_columns(hessian_.device())));
  }
  return pulls_.slice(1, first - pulls_first_, last - pulls_first_);
}

void DescentColumns::round_to(const at::Tensor& pull, std::int64_t first, const ColumnGrids& grids,
                              const at::Tensor& feedback, const at::Tensor& steps) {
  const auto last = first + pull.size(0);
  round_block({.weight = weight_.slice(0, first, last),
               .pull = pull,
               .grids = grids,
               .feedback = feedback,
               .steps = steps,
               .errors = errors_.slice(0, first, last),
               .values = values_.slice(0, first, last)});
}

std::int64_t descent_slice(const at::Tensor& weight, std::int64_t unknowns) {
  constexpr std::int64_t kNumbers = std::int64_t{1} << 26;
  if (weight.is_cpu()) return kRoundedChannels;
  return std::max<std::int64_t>(1, kNumbers / (unknowns * unknowns) / kRoundedLanes) * kRoundedLanes;
}

}  // namespace normtweak::quantize
