// The learning rate that nobody has to choose: a rate by the size of the damage, then a few short trainings around it,
// each scored on the selection rows.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

namespace normtweak::tweak {

// The rate of a model whose divergence from the float model is `divergence`, in nats per token:
// 0.005 √divergence, within 0.00025 and 0.01. To second order the divergence is quadratic in the changes of floats, so
// its root measures how far they have to go; Adam's steps have the size of the rate.
double standard_rate(double divergence);

struct RateTrial {
  double factor = 1;      // of the standard rate
  double divergence = 0;  // of the selection rows after the trial, nats per token; infinite where it failed
};

struct RateSearch {
  double factor = 1;  // the best one tried
  std::vector<RateTrial> trials;
};

// try_factor(f): trains briefly from the untouched state with f times the standard rate and returns the divergence.
// Factors are powers of two within 1/8 and 8: from 1 upward while that helps, else downward.
RateSearch search_rate(const std::function<double(double factor)>& try_factor);

// Steps of one trial in a run of `steps`; 0: the run is too short for trials to pay.
std::int64_t trial_steps(std::int64_t steps);

}  // namespace normtweak::tweak
