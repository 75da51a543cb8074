#include "normtweak/tweak/guard.h"

#include <algorithm>
#include <cmath>

#include "normtweak/base/error.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/tweak/end_to_end.h"

namespace normtweak::tweak {
namespace {

// The error of a mean falls with the root of the number of rows: it is half the gain at rows · (2 error / gain)².
std::int64_t rows_to_confirm(const Verdict& verdict, std::int64_t rows) {
  constexpr double kMost = 1e12;
  const double ratio = 2 * verdict.gain_error / verdict.gain;
  return static_cast<std::int64_t>(std::min(kMost, std::ceil(static_cast<double>(rows) * ratio * ratio))) + 1;
}

// What would help to confirm a gain that was found over `rows` rows: so many that confirm. Empty without such a gain.
std::string advice(const Verdict& verdict, std::int64_t rows) {
  if (verdict.wanted_rows <= rows) return "";
  constexpr std::int64_t kMostSamples = 128;  // with more, no further rows confirm
  const auto wanted = fmt::format("about {} held-out rows", verdict.wanted_rows);
  for (std::int64_t samples = kLeastRows; samples <= kMostSamples; ++samples) {
    if (text_shares(samples).confirm < verdict.wanted_rows) continue;
    return fmt::format("; {}, from a text of {}, would likely confirm such a gain", wanted, samples);
  }
  return fmt::format("; {} would likely confirm such a gain, and there are at most {}: longer rows help", wanted,
                     text_shares(kMostSamples).confirm);
}

// What was found, without what follows from it.
std::string finding(const Verdict& verdict, std::int64_t rows) {
  const auto over = counted(rows, "row");
  if (!std::isfinite(verdict.gain)) return fmt::format("held-out KL was not finite over {}", over);
  if (verdict.gain == 0) return fmt::format("held-out KL did not change over {}", over);
  return fmt::format("held-out KL {} by {} ± {} nats per token over {}", verdict.gain < 0 ? "rose" : "fell",
                     figure(std::abs(verdict.gain)), figure(verdict.gain_error), over);
}

std::string conclusion(const Verdict& verdict, std::int64_t rows) {
  if (verdict.accepted) return "";
  constexpr const char* kKept = ", so the untouched state is kept";
  if (!(verdict.gain > 0) || !std::isfinite(verdict.gain)) return kKept;
  return fmt::format(", less than two standard errors{}{}", kKept, advice(verdict, rows));
}

// The gain and its error alone.
Verdict measure(const std::vector<double>& untouched, const std::vector<double>& tweaked) {
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
  return verdict;
}

bool exceeds_error(const Verdict& verdict) {
  return std::isfinite(verdict.gain) && verdict.gain > 2 * verdict.gain_error;
}

void add_wanted_rows(Verdict& verdict, std::int64_t rows) {
  if (!exceeds_error(verdict) && verdict.gain > 0 && std::isfinite(verdict.gain)) {
    verdict.wanted_rows = rows_to_confirm(verdict, rows);
  }
}

}  // namespace

Verdict judge(const std::vector<double>& untouched, const std::vector<double>& tweaked) {
  auto verdict = measure(untouched, tweaked);
  const auto rows = std::ssize(untouched);
  verdict.accepted = exceeds_error(verdict);
  add_wanted_rows(verdict, rows);
  verdict.found = finding(verdict, rows);
  verdict.reason = verdict.found + conclusion(verdict, rows);
  return verdict;
}

Verdict judge_unchosen(const std::vector<double>& untouched, const std::vector<double>& tweaked, std::string_view name,
                       std::int64_t select_rows) {
  auto verdict = measure(untouched, tweaked);
  const auto rows = std::ssize(untouched);
  add_wanted_rows(verdict, rows);
  auto help = advice(verdict, rows);
  if (help.empty()) help = "; a text of more rows has more to learn from and to choose by";
  verdict.found = fmt::format("{} over {}; with the best of them ({}), {}", kNoneBetter, counted(select_rows, "row"),
                              name, finding(verdict, rows));
  verdict.reason = verdict.found + help;
  return verdict;
}

std::string unguarded_reason(const Verdict& verdict) {
  return fmt::format("{}; the tweaked state is saved without the guard's consent (--unguarded)", verdict.found);
}

}  // namespace normtweak::tweak
