// What a transform asks of the inputs x of the linears at one place.
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>

#include "normtweak/base/processes/processes.h"
#include "normtweak/quantize/hessian.h"

namespace normtweak::transform {

struct InputStatistics {
  at::Tensor largest;        // f32 [in]: max |x| over the tokens that count
  at::Tensor mean_absolute;  // f32 [in]: Σ w |x| / Σ w
  at::Tensor hessian;        // f32 [in, in]: Σ w x xᵀ / Σ w; undefined if it was not asked for
  double total_weight = 0;   // Σ w; with 0, the tensors are undefined
};

class InputAccumulator {
 public:
  // with_hessian: 4 in² bytes more on the device.
  InputAccumulator(std::int64_t in, c10::Device device, bool with_hessian);

  // x: [..., in]; weights: as for quantize::HessianAccumulator::add().
  void add(const at::Tensor& x, const std::optional<at::Tensor>& weights);

  // Of the inputs in all processes.
  InputStatistics conclude(const Processes& processes);

 private:
  at::Tensor largest_;       // f32 [in]
  at::Tensor absolute_sum_;  // f64 [in]
  at::Tensor total_weight_;  // f64 []
  std::optional<quantize::HessianAccumulator> hessian_;
};

}  // namespace normtweak::transform
