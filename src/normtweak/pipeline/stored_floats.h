// Conversion of floats to the dtype in which a file stores them.
#pragma once
#include <string>

#include "normtweak/model/decoder.h"
#include "normtweak/quantize/plan.h"

namespace normtweak::pipeline {

// `values` in `type`. Throws Error if a finite value overflows in that dtype. what: how its message begins, a file and
// a tensor.
at::Tensor as_stored(const at::Tensor& values, at::ScalarType type, const std::string& what);

// The same check before the work starts, for everything that the quantized model keeps: reads all tensors but the
// weights that `plan` quantizes and those of this type. Integer tensors are skipped.
void check_stored_type(const model::Checkpoint& original, at::ScalarType type, const quantize::QuantizationPlan& plan);

// A norm, the norms and biases of a block, and these with the weights of its float linears, as readers of a file that
// stores floats in `type` see them; in their own dtype.
model::Block with_stored_norms(model::Block block, at::ScalarType type);
model::Block with_stored_floats(model::Block block, at::ScalarType type);
model::Norm with_stored_floats(model::Norm norm, at::ScalarType type);

// Whether norms and biases of a block are the same when they are stored so.
bool keeps_norms(const model::Block& block, at::ScalarType type);

// The same for everything outside the blocks. The embedding, positions and a float head are copied.
model::Decoder with_stored_outside(model::Decoder decoder, at::ScalarType type);

}  // namespace normtweak::pipeline
