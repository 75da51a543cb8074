// The guard: a tweak is kept only if the confirmation rows confirm its gain.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace normtweak::tweak {

struct Verdict {
  bool accepted = false;
  double gain = 0;        // mean over rows of (untouched - tweaked) divergence, nats per token
  double gain_error = 0;  // its standard error, from the spread of the paired differences
  // If a gain was found within two standard errors: about how many rows would likely confirm one of this size, since
  // the error falls with the root of their number. 0 otherwise.
  std::int64_t wanted_rows = 0;
  std::string found;   // what the rows say, without what follows from it
  std::string reason;  // one sentence: what was found, what was kept, and what may help
};

// untouched, tweaked: divergences of the same rows, which the split held out to confirm a gain. Accepted if the mean
// gain exceeds two standard errors.
Verdict judge(const std::vector<double>& untouched, const std::vector<double>& tweaked);

// How what was found begins where no candidate won on the rows that choose.
inline constexpr std::string_view kNoneBetter = "no candidate was better than the untouched state";

// The same figures for a state that lost to the untouched one on the `select_rows` rows that choose, and so is not
// accepted, whatever it gains here. name: of that state.
Verdict judge_unchosen(const std::vector<double>& untouched, const std::vector<double>& tweaked, std::string_view name,
                       std::int64_t select_rows);

// The reason of a state that is saved though `verdict` does not accept it: what was found, and that it did not count.
std::string unguarded_reason(const Verdict& verdict);

}  // namespace normtweak::tweak
