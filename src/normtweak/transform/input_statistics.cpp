#include "normtweak/transform/input_statistics.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

namespace normtweak::transform {

InputAccumulator::InputAccumulator(std::int64_t in, c10::Device device, bool with_hessian)
    : largest_(at::zeros({in}, at::TensorOptions(at::kFloat).device(device))),
      absolute_sum_(at::zeros({in}, at::TensorOptions(at::kDouble).device(device))),
      total_weight_(at::zeros({}, at::TensorOptions(at::kDouble).device(device))) {
  if (with_hessian) hessian_.emplace(in, device);
}

void InputAccumulator::add(const at::Tensor& x, const std::optional<at::Tensor>& weights) {
  const at::NoGradGuard no_grad;
  auto sizes = x.reshape({-1, x.size(-1)}).to(at::kFloat).abs();  // [tokens, in]
  if (sizes.size(0) == 0) return;
  if (weights) {
    const auto each = weights->reshape({-1, 1}).to(sizes.device(), at::kFloat);
    sizes = at::where(each > 0, sizes, 0.0);  // padding may hold any values, NaN too
    absolute_sum_ += (sizes * each).sum(0, false, at::kDouble);
    total_weight_ += each.sum(at::kDouble);
  } else {
    absolute_sum_ += sizes.sum(0, false, at::kDouble);
    total_weight_ += static_cast<double>(sizes.size(0));
  }
  largest_ = at::maximum(largest_, sizes.amax(0));
  if (hessian_) hessian_->add(x, weights);
}

InputStatistics InputAccumulator::conclude(const Processes& processes) {
  largest_ = processes.gather_rows(largest_.unsqueeze(0)).amax(0);
  processes.all_reduce_sum({absolute_sum_, total_weight_});
  if (hessian_) hessian_->sum_over(processes);
  const auto total = total_weight_.item<double>();
  if (total == 0) return {};
  return {.largest = largest_,
          .mean_absolute = (absolute_sum_ / total).to(at::kFloat),
          .hessian = hessian_ ? hessian_->mean() : at::Tensor(),
          .total_weight = total};
}

}  // namespace normtweak::transform
