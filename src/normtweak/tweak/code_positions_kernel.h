// The CUDA kernels of a step of learned codes: 14 bytes of a weight are read or written where a chain of ATen
// operations moves some 150, in five launches instead of fifty.
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/tweak/code_positions.h"

namespace normtweak::tweak {

// Whether the kernels take this state and gradient.
bool has_position_kernels(const PositionState& state, const at::Tensor& gradient);

// root_rows, root_columns: f32 [out], [in], square roots of the sums of squares of the gradient's rows and columns.
void move_positions_on_gpu(PositionState& state, const at::Tensor& gradient, const at::Tensor& root_rows,
                           const at::Tensor& root_columns, const PositionStep& step, at::Tensor& finite);

}  // namespace normtweak::tweak
