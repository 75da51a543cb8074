// Everything that can go wrong before hours are spent, checked first.
#pragma once
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <vector>

#include "normtweak/base/progress.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/pipeline/run_types.h"
#include "normtweak/quantize/plan.h"

namespace normtweak::pipeline {

// Throws Error naming the linear if a plan does not fit its shape, or saying that no linear is to be quantized, or
// which rule matches none.
void check_plan_for_model(const quantize::QuantizationPlan& plan, const model::Checkpoint& checkpoint);

// Whether a linear of the model is quantized by the Hessian of its input. Reads only the config.
bool wants_hessians(const quantize::QuantizationPlan& plan, const model::Checkpoint& checkpoint);

// What a run reads: its models, its calibration text, and the texts that it reports on.
std::vector<std::filesystem::path> inputs(std::initializer_list<const model::Checkpoint*> models,
                                          const TextSource& text, const External& external);

// Throws UsageError if one of `inputs` lies in `output`, which would be replaced, and Error if that cannot be made, if
// its disk lacks room for `bytes`, or if there is something else in it than an earlier result.
void check_output(const std::filesystem::path& output, const std::vector<std::filesystem::path>& inputs,
                  std::int64_t bytes);

// Says so if `checkpoint` has a tokenizer that a saved copy will lack.
void note_missing_tokenizer(const model::Checkpoint& checkpoint, ProgressSink& progress);

}  // namespace normtweak::pipeline
