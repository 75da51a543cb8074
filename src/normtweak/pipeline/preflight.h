// Checks that run before the long work starts.
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

// Throws Error if a plan does not fit a linear's shape (naming the linear), if no linear is to be quantized, or if a
// rule matches no linear (naming the rule).
void check_plan_for_model(const quantize::QuantizationPlan& plan, const model::Checkpoint& checkpoint);

// Whether any linear of the model needs the Hessian of its input. Reads only the config.
bool wants_hessians(const quantize::QuantizationPlan& plan, const model::Checkpoint& checkpoint);

// The largest of 128, 64, 32 and 16 that divides the columns of every linear in the blocks; 128 if none does. Reads
// only the config.
int standard_group_size(const model::Checkpoint& checkpoint);

// The inputs of a run: its models, its calibration text, and the texts that it reports on.
std::vector<std::filesystem::path> inputs(std::initializer_list<const model::Checkpoint*> models,
                                          const TextSource& text, const External& external);

// Throws UsageError if one of `inputs` is inside `output`, which would be replaced. Throws Error if `output` cannot be
// created, if its disk lacks room for `bytes`, or if it contains anything but an earlier result.
void check_output(const std::filesystem::path& output, const std::vector<std::filesystem::path>& inputs,
                  std::int64_t bytes);

// Adds a note if `checkpoint` has a tokenizer that a saved copy will lack.
void note_missing_tokenizer(const model::Checkpoint& checkpoint, ProgressSink& progress);

}  // namespace normtweak::pipeline
