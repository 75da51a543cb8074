// The guard: what a tweak found is kept only if rows that no step has seen confirm it.
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

// Divergences of the same rows, untouched and tweaked. Accepted if the gain exceeds two standard errors.
Verdict judge(const std::vector<double>& untouched, const std::vector<double>& tweaked);

}  // namespace normtweak::tweak
