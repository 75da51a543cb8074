// Whether a quantized model can have been made from a float one.
#pragma once
#include "normtweak/model/checkpoint.h"

namespace normtweak::pipeline {

// Compares what quantizing leaves as it is: the kind of model and every number of its passes. The two may be of
// different formats and types, spell their configs differently and, where positions are rotary, promise different
// contexts. Throws Error naming the first fact that differs, and both values.
void check_same_model(const model::Checkpoint& quantized, const model::Checkpoint& reference);

}  // namespace normtweak::pipeline
