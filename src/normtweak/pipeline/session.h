// What quantize and tweak share: the float model at hand, the text, and the clock.
#pragma once
#include <functional>
#include <string>

#include "normtweak/pipeline/memory_plan.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::pipeline {

// The float model twice: exactly, and in the type that products run in (the same one where that is F32).
struct FloatModel {
  model::Checkpoint checkpoint;
  model::Decoder exact, passes;
};
FloatModel load_float_model(model::Checkpoint checkpoint, const Compute& compute, const RunMemory& memory);

// Adds the seconds that `work` took to seconds[name].
void timed(std::map<std::string, double>& seconds, const std::string& name, const std::function<void()>& work);

// The rows of the text, told apart; prints how many serve what.
struct RunText {
  calibrate::TokenBatch all;
  tweak::TextSplit split;
};
RunText prepare_text(const TextSource& source, const FloatModel& floats, ProgressSink& progress,
                     const Processes& processes);

}  // namespace normtweak::pipeline
