// Settings that were given and that no linear reads.
#pragma once
#include <vector>

#include "normtweak/base/progress.h"
#include "normtweak/pipeline/planned_linears.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::pipeline {

// Every option in `options.named` and every setting of a rule must decide something about at least one linear. Throws
// UsageError if the method of the linears does not read it, or if they stay float, since another result was expected.
// Adds a note instead if a rule that comes later says otherwise, or if it is harmless: --group-size and
// --token-weights. linears: of this plan and model.
void check_settings_are_read(const QuantizeOptions& options, const std::vector<PlannedLinear>& linears,
                             ProgressSink& progress);

}  // namespace normtweak::pipeline
