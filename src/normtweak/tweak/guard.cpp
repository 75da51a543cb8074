#include "normtweak/tweak/guard.h"

#include <algorithm>
#include <cmath>

#include "normtweak/base/error.h"
#include "normtweak/tweak/end_to_end.h"

namespace normtweak::tweak {
namespace {

// The error of a mean falls with the root of the number of rows: it is half the gain at rows · (2 error / gain)².
std::int64_t rows_to_confirm(const Verdict& verdict, std::int64_t rows) {
  constexpr double kMost = 1e12;
  const double ratio = 2 * verdict.gain_error / verdict.gain;
  return static_cast<std::int64_t>(std::min(kMost, std::ceil(static_cast<double>(rows) * ratio * ratio))) + 1;
}

// How to get so many rows that confirm.
std::string advice(std::int64_t wanted) {
  constexpr std::int64_t kMostSamples = 128;  // with more, no further rows confirm
  for (std::int64_t samples = kLeastRows; samples <= kMostSamples; ++samples) {
    if (text_shares(samples).confirm < wanted) continue;
    return fmt::format("about {} held-out rows, from a text of {}, would likely confirm such a gain", wanted, samples);
  }
  return fmt::format(
      "about {} held-out rows would likely confirm such a gain, and there are at most {}: longer rows help", wanted,
      text_shares(kMostSamples).confirm);
}

// What was found, without what follows from it.
std::string finding(const Verdict& verdict, std::size_t rows) {
  if (!std::isfinite(verdict.gain)) return fmt::format("held-out KL was not finite over {} rows", rows);
  if (verdict.gain == 0) return fmt::format("held-out KL did not change over {} rows", rows);
  return fmt::format("held-out KL {} by {:.4f} ± {:.4f} nats per token over {} rows",
                     verdict.gain < 0 ? "rose" : "fell", std::abs(verdict.gain), verdict.gain_error, rows);
}

std::string conclusion(const Verdict& verdict) {
  if (verdict.accepted) return "";
  constexpr const char* kKept = ", so the untouched state is kept";
  if (!(verdict.gain > 0) || !std::isfinite(verdict.gain)) return kKept;
  return fmt::format(", less than two standard errors{}; {}", kKept, advice(verdict.wanted_rows));
}

}  // namespace

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
  if (!verdict.accepted && verdict.gain > 0 && std::isfinite(verdict.gain)) {
    verdict.wanted_rows = rows_to_confirm(verdict, static_cast<std::int64_t>(untouched.size()));
  }
  verdict.reason = finding(verdict, untouched.size()) + conclusion(verdict);
  return verdict;
}

}  // namespace normtweak::tweak
