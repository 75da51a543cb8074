#include "normtweak/tweak/rate_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace normtweak::tweak {

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
  improves(1);
  double factor = 2;
  while (factor <= 8 && improves(factor)) factor *= 2;
  if (search.factor > 1) return search;
  factor = 0.5;
  while (factor >= 0.125 && improves(factor)) factor /= 2;
  return search;
}

std::int64_t trial_steps(std::int64_t steps) {
  constexpr std::int64_t kFewest = 8, kMost = 24;
  const auto tenth = steps / 10;
  return tenth < kFewest ? 0 : std::min(tenth, kMost);
}

}  // namespace normtweak::tweak
