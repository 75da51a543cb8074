#include "normtweak/transform/clipping.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>

#include <vector>

#include "normtweak/quantize/product_precision.h"
#include "normtweak/transform/planned_rounding.h"

namespace normtweak::transform {
namespace {

// The blocks of the Hessian on its diagonal, [groups, size, size].
at::Tensor diagonal_blocks(const at::Tensor& hessian, std::int64_t size) {
  std::vector<at::Tensor> blocks;
  for (std::int64_t first = 0; first < hessian.size(0); first += size) {
    blocks.push_back(hessian.narrow(0, first, size).narrow(1, first, size));
  }
  return at::stack(blocks);
}

}  // namespace

bool clips(model::LinearRole role, const quantize::LinearPlan& plan) {
  using enum model::LinearRole;
  if (role == query || role == key || role == query_key_value) return false;
  return has_free_groups(plan) && !resolved_options(plan).search_grid;
}

at::Tensor clip(const at::Tensor& weight, const at::Tensor& hessian, const quantize::LinearPlan& plan) {
  constexpr int kSteps = 20, kTried = kSteps / 2;
  const quantize::FullPrecisionProducts full_precision;
  const auto out = weight.size(0), in = weight.size(1), size = plan.group_size == 0 ? in : plan.group_size;
  const auto groups = weight.contiguous().view({out, in / size, size});
  const auto inputs = diagonal_blocks(hessian, size);
  const auto largest = groups.abs().amax(-1, /*keepdim=*/true);
  at::Tensor bounds = largest, least;
  for (int step = 0; step < kTried; ++step) {
    const auto bound = largest * (1 - static_cast<double>(step) / kSteps);
    const auto clamped = groups.clamp(-bound, bound).view({out, in});
    const auto difference = (weights::dequantize(planned_rounding(clamped, plan)) - weight).view_as(groups);
    const auto each = difference.transpose(0, 1);  // [groups, out, size]
    const auto error = (at::bmm(each, inputs) * each).sum(-1).t().unsqueeze(-1);
    if (!least.defined()) {
      least = error;
      continue;
    }
    bounds = at::where(error < least, bound, bounds);
    least = at::minimum(error, least);
  }
  return groups.clamp(-bounds, bounds).view({out, in});
}

}  // namespace normtweak::transform
