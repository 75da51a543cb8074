// How many floats the end-to-end tweak will tune, counted before anything is loaded.
#pragma once
#include <cstdint>

#include "normtweak/model/checkpoint.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::pipeline {

// For `floats` quantized by `plan`. 0 for the other methods, which work block by block.
std::int64_t tuned_floats(const model::Checkpoint& floats, const quantize::QuantizationPlan& plan,
                          const TweakOptions& tweak);

// For a quantized checkpoint, as stored.
std::int64_t tuned_floats(const model::Checkpoint& quantized, const TweakOptions& tweak);

}  // namespace normtweak::pipeline
