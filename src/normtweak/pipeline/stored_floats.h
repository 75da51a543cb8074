// Conversion of floats to the dtype in which a file stores them.
#pragma once
#include <string>

#include "normtweak/model/checkpoint.h"
#include "normtweak/quantize/plan.h"

namespace normtweak::pipeline {

// `values` in `type`. Throws Error if a finite value overflows in that dtype. what: how its message begins, a file and
// a tensor.
at::Tensor as_stored(const at::Tensor& values, at::ScalarType type, const std::string& what);

// The same check before the work starts, for everything that the quantized model keeps: reads all tensors but the
// weights that `plan` quantizes. Integer tensors are skipped.
void check_stored_type(const model::Checkpoint& original, at::ScalarType type, const quantize::QuantizationPlan& plan);

}  // namespace normtweak::pipeline
