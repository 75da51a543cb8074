// The guard: a tweak is kept only if the confirmation rows confirm its gain.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace normtweak::tweak {

struct Verdict {
  bool accepted = false;
  double gain = 0;        // mean over rows of (untouched - tweaked) divergence, nats per token
  double gain_error = 0;  // its standard error, from the spread of the paired differences
  // If a gain was not confirmed: about how many rows would likely confirm one of this size, since the error falls with
  // the root of their number. 0: none was found, or it was confirmed.
  std::int64_t wanted_rows = 0;
  std::string reason;  // one sentence: what was found, what was kept, and what may help
};

// untouched, tweaked: divergences of the same rows, which the split held out to confirm a gain. Accepted if the mean
// gain exceeds two standard errors.
Verdict judge(const std::vector<double>& untouched, const std::vector<double>& tweaked);

}  // namespace normtweak::tweak
