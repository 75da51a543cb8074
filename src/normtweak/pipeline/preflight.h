// Everything that can go wrong before hours are spent, checked first.
#pragma once
#include <filesystem>

#include "normtweak/base/progress.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/pipeline/save_checkpoint.h"
#include "normtweak/quantize/plan.h"

namespace normtweak::pipeline {

// Throws Error naming the linear if a plan does not fit its shape, or saying that no linear is to be quantized, or
// which rule matches none.
void check_plan_for_model(const quantize::QuantizationPlan& plan, const model::Checkpoint& checkpoint);

// Throws Error if `output` is the folder that the float model `read` lies in, or one above it.
void check_not_replaced(const model::Checkpoint& read, const std::filesystem::path& output);

// Throws Error if `output` cannot be made or its disk lacks room, and if what it would replace is no earlier result.
void check_output(const std::filesystem::path& output, const model::Checkpoint& checkpoint);

// Says so if `checkpoint` has a tokenizer that a saved copy will lack.
void note_missing_tokenizer(const model::Checkpoint& checkpoint, ProgressSink& progress);

}  // namespace normtweak::pipeline
