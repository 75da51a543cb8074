// NaN and infinity, looked for in one pass.
#pragma once
#include <ATen/core/Tensor.h>

namespace normtweak {

// False if any value is NaN or infinite. Meant for types up to F32: their sum cannot overflow the double that it is
// taken in, which is quicker than a flag for each value. F64 of more than 1e300 may count as infinite.
bool all_finite(const at::Tensor& tensor);

}  // namespace normtweak
