// Adam (arXiv 1412.6980) over the changes of tunables, in LibTorch's fused implementation.
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

namespace normtweak::tweak {

struct AdamOptions {
  double beta1 = 0.9, beta2 = 0.999;
  double epsilon = 1e-8;
};

struct AdamGroup {
  std::vector<at::Tensor> parameters;  // f32 leaves, all on one device
  double rate = 1e-3;                  // learning rate
};

class Adam {
 public:
  Adam(std::vector<AdamGroup> groups, const AdamOptions& options);

  void clear_gradients();
  // One step with every group's rate times `factor`. A parameter without a gradient stays.
  void step(double factor = 1.0);

 private:
  struct State {
    std::vector<at::Tensor> first_moments, second_moments, step_counts;
  };

  std::vector<AdamGroup> groups_;
  std::vector<State> states_;
  AdamOptions options_;
};

}  // namespace normtweak::tweak
