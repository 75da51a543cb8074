// Steps of the integers of a sub-block that lower the error of its channel most, all else being fixed.
#pragma once
#include <ATen/core/Tensor.h>

#include <utility>

#include "normtweak/weights/block_type.h"

namespace normtweak::quantize {

// The error falls by 2 s ra - s² aa with a step s of the scale. f32 [out].
struct Parabola {
  at::Tensor aa, ra;
};
// The step to the best integer of the range.
at::Tensor best_step(const at::Tensor& scale, const Parabola& error, const weights::IntegerRange& range);

// The error falls by 2 (s ra + t rb) - s² aa - 2 s t ab - t² bb with steps s of the scale and t of the minimum. f32
// [out].
struct Paraboloid {
  at::Tensor aa, ab, bb, ra, rb;
};
// Of the whole steps near the lowest point, the best ones within the ranges of the type; no step if none lowers the
// error.
std::pair<at::Tensor, at::Tensor> best_steps(const at::Tensor& scale, const at::Tensor& minimum,
                                             const Paraboloid& error, const weights::BlockType& type);

}  // namespace normtweak::quantize
