#include "normtweak/tweak/rate_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace normtweak::tweak {
namespace {

constexpr double kLargest = 8;  // factor; the smallest is its inverse

}  // namespace

double standard_rate(double divergence) {
  return std::clamp(5e-3 * std::sqrt(std::max(0.0, divergence)), 2.5e-4, 1e-2);
}

RateSearch search_rate(const std::function<double(double factor)>& try_factor) {
  RateSearch search;
  double least = std::numeric_limits<double>::infinity();
  const auto improves = [&](double factor) {
    const double divergence = try_factor(factor);
    search.trials.push_back({factor, std::isfinite(divergence) ? divergence : std::numeric_limits<double>::infinity()});
    if (!(divergence < least)) return false;
    least = divergence;
    search.factor = factor;
    return true;
  };
  if (improves(1)) {
    for (double factor = 2; factor <= kLargest && improves(factor);) factor *= 2;
    if (search.factor > 1) return search;
  }
  // Downward while that helps, or until a trial succeeds at all.
  for (double factor = 0.5; factor >= 1 / kLargest; factor /= 2) {
    if (!improves(factor) && std::isfinite(least)) break;
  }
  return search;
}

std::int64_t trial_steps(std::int64_t steps) {
  constexpr std::int64_t kTrial = 8;  // 24 choose no better: docs/benchmarks.md, "Steps of a trial"
  return steps < 10 * kTrial ? 0 : kTrial;
}

}  // namespace normtweak::tweak
