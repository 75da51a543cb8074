// How many floats the end-to-end tweak will move, counted before anything is loaded.
#pragma once
#include <cstdint>

#include "normtweak/model/checkpoint.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::pipeline {

// Of `floats` once it is quantized by `plan`. 0 for the other methods, which go block by block.
std::int64_t tuned_floats(const model::Checkpoint& floats, const quantize::QuantizationPlan& plan,
                          const TweakOptions& tweak);

// Of a quantized checkpoint, as it is stored.
std::int64_t tuned_floats(const model::Checkpoint& quantized, const TweakOptions& tweak);

}  // namespace normtweak::pipeline
