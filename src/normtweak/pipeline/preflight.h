// Everything that can go wrong before hours are spent, checked first.
#pragma once
#include <filesystem>

#include "normtweak/model/checkpoint.h"
#include "normtweak/pipeline/save_checkpoint.h"
#include "normtweak/quantize/plan.h"

namespace normtweak::pipeline {

// Throws Error naming the linear if a plan does not fit its shape, or saying that no linear is to be quantized.
void check_plan_for_model(const quantize::QuantizationPlan& plan, const model::Checkpoint& checkpoint);

// Throws Error if `output` cannot be made or its disk lacks room.
void check_output(const std::filesystem::path& output, const model::Checkpoint& checkpoint);

}  // namespace normtweak::pipeline
