// The guard: a tweak is kept only if the confirmation rows confirm its gain.
#pragma once
#include <string>
#include <vector>

namespace normtweak::tweak {

struct Verdict {
  bool accepted = false;
  double gain = 0;        // mean over rows of (untouched - tweaked) divergence, nats per token
  double gain_error = 0;  // its standard error, from the spread of the paired differences
  std::string reason;     // one sentence
};

// untouched, tweaked: divergences of the same rows. Accepted if the mean gain exceeds two standard errors.
Verdict judge(const std::vector<double>& untouched, const std::vector<double>& tweaked);

}  // namespace normtweak::tweak
