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
  // Moves the changes of `set`, which must outlive this. rates: the learning rate of each of set.groups().
  Adam(TunableSet& set, std::vector<double> rates, const AdamOptions& options);

  // One step with every rate times `factor`, from gradients of values: they are finished here, and cleared.
  void step(double factor = 1.0);

 private:
  struct Moments {
    at::Tensor first, second;  // like the change
    at::Tensor steps;          // f32 []
  };

  TunableSet& set_;
  std::vector<double> rates_;
  std::vector<Moments> moments_;  // of each group
  AdamOptions options_;
};

}  // namespace normtweak::tweak
