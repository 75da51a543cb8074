// A check for NaN and infinity in one pass.
#pragma once
#include <ATen/core/Tensor.h>

namespace normtweak {

// False if any value is NaN or infinite. Uses the minimum and maximum, which propagate NaN: a mask would take as much
// memory as the tensor, and a sum in F64 on a GPU twice as much.
bool all_finite(const at::Tensor& tensor);

}  // namespace normtweak
