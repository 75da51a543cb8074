// Weights of other kinds, or with floats of other dtypes, as affine weights with the very same values.
#pragma once
#include <optional>

#include "normtweak/weights/weight.h"

namespace normtweak::weights {

// Affine weights, and blocks with one scale and codes around a fixed zero-point (such as Q4_0, Q5_0 and Q8_0).
// Symmetric where all zero-points are in the middle. scale_type: of the scales; nullopt: as they are. Throws Error
// saying why the values cannot be the same.
AffineWeight exact_affine(const Weight& weight, std::optional<at::ScalarType> scale_type);

// The same with tensors of the meta device.
AffineWeight without_data(const AffineWeight& weight);

}  // namespace normtweak::weights
