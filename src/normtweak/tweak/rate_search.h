// The automatic learning rate: a standard rate from the quantization loss, then a few short trial runs around it, each
// scored on the selection rows.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

namespace normtweak::tweak {

// The standard rate of a model whose divergence from the float model is `divergence`, in nats per token:
// 0.005 √divergence, clamped to [0.00025, 0.01]. To second order the divergence is quadratic in the changes of the
// floats, so its root measures how far they have to move; the size of Adam's steps is the rate.
double standard_rate(double divergence);

// The rate of norms and biases where scales are tuned beside them, as a share of the scales' rate. Each norm weight
// scales a column of several linears, so that little text suffices for it to fit that text too well
// (docs/benchmarks.md, "Short text").
inline constexpr double kNormShare = 0.2;

struct RateTrial {
  double factor = 1;      // multiple of the standard rate
  double divergence = 0;  // on the selection rows after the trial, nats per token; infinite if it failed
};

struct RateSearch {
  double factor = 1;  // the best factor tried
  std::vector<RateTrial> trials;
};

// try_factor(f): trains briefly from the untouched state with f times the standard rate and returns the divergence.
// Factors are powers of two within 1/8 and 8: from 1 upward while that helps, otherwise downward.
RateSearch search_rate(const std::function<double(double factor)>& try_factor);

// Steps of one trial in a run of `steps`; 0: the run is too short for trials to pay off.
std::int64_t trial_steps(std::int64_t steps);

}  // namespace normtweak::tweak
