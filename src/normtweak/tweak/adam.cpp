#include "normtweak/tweak/adam.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace normtweak::tweak {

Adam::Adam(TunableSet& set, std::vector<double> rates, const AdamOptions& options)
    : set_(set), rates_(std::move(rates)), options_(options) {
  for (const auto& group : set_.groups()) {
    moments_.push_back(
        {at::zeros_like(group.change), at::zeros_like(group.change), at::zeros({}, group.change.options())});
  }
  set_.clear_gradients();
}

void Adam::step(double factor) {
  const c10::NoGradGuard no_gradients;
  set_.finish_gradients();
  const auto groups = set_.groups();
  for (std::size_t i = 0; i < groups.size(); ++i) {
    auto& moments = moments_[i];
    moments.steps.add_(1);
    at::_fused_adam_({groups[i].change}, {groups[i].gradient}, {moments.first}, {moments.second},
                     /*max_exp_avg_sqs=*/{}, {moments.steps}, rates_[i] * factor, options_.beta1, options_.beta2,
                     /*weight_decay=*/0.0, options_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
  }
  set_.refresh();
  set_.clear_gradients();
}

}  // namespace normtweak::tweak
