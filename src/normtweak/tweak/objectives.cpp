#include "normtweak/tweak/objectives.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/mse_loss.h>
#include <fmt/ranges.h>

#include <array>
#include <vector>

#include "normtweak/base/error.h"

namespace normtweak::tweak {
namespace {

struct ChannelMoments {
  at::Tensor mean, variance;  // [channels], over the tokens; biased (population) variance
};
ChannelMoments channel_moments(const at::Tensor& x) { return {x.mean(0), x.var(0, /*unbiased=*/false)}; }

// L_dist of Norm Tweaking (arXiv 2309.02784, equation 2): 1/C Σ_c (|μ_f - μ_q| + |σ²_f - σ²_q|)
at::Tensor distribution(const at::Tensor& output, const at::Tensor& target) {
  const auto q = channel_moments(output), f = channel_moments(target);
  return ((f.mean - q.mean).abs() + (f.variance - q.variance).abs()).mean();
}

// The same, normalised by the float channel's scale, so that a few channels of large magnitude do not dominate.
at::Tensor relative(const at::Tensor& output, const at::Tensor& target) {
  const auto q = channel_moments(output), f = channel_moments(target);
  constexpr double tiny = 1e-6;
  return ((f.mean - q.mean).abs() / (f.variance.sqrt() + tiny) + (f.variance - q.variance).abs() / (f.variance + tiny))
      .mean();
}

at::Tensor mean_squared_error(const at::Tensor& output, const at::Tensor& target) {
  return at::mse_loss(output, target);
}

// KL divergence between the softmaxes over channels of the two outputs, averaged over tokens.
at::Tensor divergence(const at::Tensor& output, const at::Tensor& target) {
  const auto q = output.log_softmax(-1), f = target.log_softmax(-1);
  return (f.exp() * (f - q)).sum(-1).mean();
}

constexpr std::array<Objective, 4> kObjectives = {{
    {"dist", "channel-wise mean and variance, the paper's loss", &distribution},
    {"relative", "dist, each term relative to the float channel's standard deviation or variance", &relative},
    {"mse", "mean squared error of the block's output", &mean_squared_error},
    {"kl", "KL divergence between softmaxes over the channels", &divergence},
}};

}  // namespace

std::span<const Objective> objectives() { return kObjectives; }

const Objective& find_objective(std::string_view name) {
  std::vector<std::string_view> known;
  for (const auto& objective : kObjectives) {
    if (objective.name == name) return objective;
    known.push_back(objective.name);
  }
  fail("--loss {}: not known; known are {}", name, fmt::join(known, ", "));
}

}  // namespace normtweak::tweak
