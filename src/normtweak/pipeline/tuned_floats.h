// What the end-to-end tweak can and will tune, counted before anything is loaded.
#pragma once
#include <cstdint>
#include <map>

#include "normtweak/base/progress.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/pipeline/planned_linears.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::pipeline {

// How many floats of each group the quantized model has; groups that it lacks are not among them.
using TunableCounts = std::map<tweak::TunableGroup, std::int64_t>;

// Of `floats` quantized as planned.
TunableCounts tunable_floats(const model::Checkpoint& floats, const std::vector<PlannedLinear>& linears);

// Of a quantized checkpoint, as stored.
TunableCounts tunable_floats(const model::Checkpoint& quantized);

// How many of them the end-to-end tweak will tune. 0 for the other methods, which work block by block.
std::int64_t tuned_floats(const TunableCounts& counts, const TweakOptions& tweak);

// Throws Error if the end-to-end tweak would have nothing to tune; adds a note for each group that was named and that
// the model lacks.
void check_tuned_groups(const TunableCounts& counts, const TweakOptions& tweak, ProgressSink& progress);

}  // namespace normtweak::pipeline
