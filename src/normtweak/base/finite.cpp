#include "normtweak/base/finite.h"

#include <cmath>

namespace normtweak {

bool all_finite(const at::Tensor& tensor) { return std::isfinite(tensor.sum(at::kDouble).item<double>()); }

}  // namespace normtweak
