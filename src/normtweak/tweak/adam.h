// Adam (arXiv 1412.6980) over the changes of tunables, in LibTorch's fused implementation.
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

#include "normtweak/tweak/tunables.h"

namespace normtweak::tweak {

struct AdamOptions {
  double beta1 = 0.9, beta2 = 0.999;
  double epsilon = 1e-8;
};

class Adam {
 public:
  // Optimises the changes of `set`, which must outlive this. rates: the learning rate of each of set.groups().
  Adam(TunableSet& set, std::vector<double> rates, const AdamOptions& options);

  // One step with every rate multiplied by `factor`. Takes gradients with respect to values; converts them to gradients
  // of changes, then clears them.
  void step(double factor = 1.0);

 private:
  struct Moments {
    at::Tensor first, second;  // shaped like the change
    at::Tensor steps;          // f32 []
  };

  TunableSet& set_;
  std::vector<double> rates_;
  std::vector<Moments> moments_;  // one per group
  AdamOptions options_;
};

}  // namespace normtweak::tweak
