#include "normtweak/tweak/adam.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace normtweak::tweak {

Adam::Adam(std::vector<AdamGroup> groups, const AdamOptions& options) : groups_(std::move(groups)), options_(options) {
  for (const auto& group : groups_) {
    auto& state = states_.emplace_back();
    for (const auto& parameter : group.parameters) {
      state.first_moments.push_back(at::zeros_like(parameter.detach()));
      state.second_moments.push_back(at::zeros_like(parameter.detach()));
      state.step_counts.push_back(at::zeros({}, parameter.options().requires_grad(false)));
    }
  }
}

void Adam::clear_gradients() {
  for (const auto& group : groups_) {
    for (const auto& parameter : group.parameters) parameter.mutable_grad() = at::Tensor();
  }
}

void Adam::step(double factor) {
  const c10::NoGradGuard no_gradients;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    auto& state = states_[g];
    std::vector<at::Tensor> values, gradients, first_moments, second_moments, step_counts;
    for (std::size_t i = 0; i < groups_[g].parameters.size(); ++i) {
      const auto& parameter = groups_[g].parameters[i];
      if (!parameter.grad().defined()) continue;
      state.step_counts[i].add_(1);
      values.push_back(parameter);
      gradients.push_back(parameter.grad());
      first_moments.push_back(state.first_moments[i]);
      second_moments.push_back(state.second_moments[i]);
      step_counts.push_back(state.step_counts[i]);
    }
    if (values.empty()) continue;
    at::_fused_adam_(values, gradients, first_moments, second_moments, /*max_exp_avg_sqs=*/{}, step_counts,
                     groups_[g].rate * factor, options_.beta1, options_.beta2, /*weight_decay=*/0.0, options_.epsilon,
                     /*amsgrad=*/false, /*maximize=*/false);
  }
}

}  // namespace normtweak::tweak
