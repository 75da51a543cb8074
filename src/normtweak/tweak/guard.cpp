#include "normtweak/tweak/guard.h"

#include <algorithm>
#include <cmath>

#include "normtweak/base/error.h"

namespace normtweak::tweak {

Verdict judge(const std::vector<double>& untouched, const std::vector<double>& tweaked) {
  if (untouched.size() != tweaked.size() || untouched.size() < 2) {
    fail("the guard needs the same rows twice, at least 2; found {} and {}", untouched.size(), tweaked.size());
  }
  const auto count = static_cast<double>(untouched.size());
  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < untouched.size(); ++i) {
    const double gain = untouched[i] - tweaked[i];
    sum += gain;
    squares += gain * gain;
  }
  Verdict verdict;
  verdict.gain = sum / count;
  verdict.gain_error = std::sqrt(std::max(0.0, squares / count - verdict.gain * verdict.gain) / (count - 1));
  verdict.accepted = std::isfinite(verdict.gain) && verdict.gain > 2 * verdict.gain_error;
  verdict.reason =
      fmt::format("held-out KL {} by {:.4f} ± {:.4f} nats per token over {} rows{}", verdict.gain < 0 ? "rose" : "fell",
                  std::abs(verdict.gain), verdict.gain_error, untouched.size(),
                  verdict.accepted ? "" : ": not more than two standard errors, so the untouched state is kept");
  return verdict;
}

}  // namespace normtweak::tweak
