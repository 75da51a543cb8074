// Whether a transform can be applied to a model, known before the work starts.
#pragma once
#include <string>
#include <vector>

#include "normtweak/base/progress.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/pipeline/planned_linears.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::pipeline {

// Throws Error if no block has anything that the transform could fold, naming the family and why. Throws UsageError if
// --awq-clip was given and no linear's range would be searched. Adds a note for each kind of fold that the family
// leaves out, and returns these in words. linears: of `plan` and the model.
std::vector<std::string> check_transform(const QuantizeOptions& options, const model::Checkpoint& checkpoint,
                                         const quantize::QuantizationPlan& plan,
                                         const std::vector<PlannedLinear>& linears, ProgressSink& progress);

}  // namespace normtweak::pipeline
