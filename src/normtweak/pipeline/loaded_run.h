// A tweak run in two halves, so that several tweaks can start from what was loaded once.
#pragma once
#include "normtweak/pipeline/memory_plan.h"
#include "normtweak/pipeline/prepare_tweak.h"
#include "normtweak/pipeline/session.h"

namespace normtweak::pipeline {

// What a run holds when its models and its text are there.
struct LoadedRun {
  FloatModel floats;
  model::Decoder exact;      // the quantized model with the values in its file, in F32
  model::Decoder quantized;  // the same in the compute dtype: the untouched state
  RunText text;
  RunResult result;  // what is known of it so far
};

// What `prepared` needs of memory.
RunNeeds needs_of(const PreparedTweak& prepared);

// needs: of memory, those of `prepared` or of all runs that start from it.
LoadedRun load_run(const PreparedTweak& prepared, const RunNeeds& needs, ProgressSink& progress);

// prepared: as for load_run(), but for the output and the tweak, which must not need more than what it was given.
RunResult tweak_and_save(const PreparedTweak& prepared, const LoadedRun& run, ProgressSink& progress);

}  // namespace normtweak::pipeline
