// Floats in the type that a file holds them in.
#pragma once
#include <string>

#include "normtweak/model/checkpoint.h"
#include "normtweak/quantize/plan.h"

namespace normtweak::pipeline {

// `values` in `type`. Throws Error naming `tensor` if one of them is finite and infinite in that type.
at::Tensor as_stored(const at::Tensor& values, at::ScalarType type, const std::string& tensor);

// The same Error, before the work, for what a model keeps when it is quantized: reads all but the weights that `plan`
// quantizes. Integers are not looked at.
void check_stored_type(const model::Checkpoint& original, at::ScalarType type, const quantize::QuantizationPlan& plan);

}  // namespace normtweak::pipeline
