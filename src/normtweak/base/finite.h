// NaN and infinity, looked for in one pass.
#pragma once
#include <ATen/core/Tensor.h>

namespace normtweak {

// False if any value is NaN or infinite. By the least and the largest, which NaN goes into: a flag for each value would
// take as much memory as the tensor, and on a GPU a sum in double twice as much.
bool all_finite(const at::Tensor& tensor);

}  // namespace normtweak
