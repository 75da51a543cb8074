// Shared by quantize and tweak: loading the float model, preparing the text, timing.
#pragma once
#include <functional>
#include <string>

#include "normtweak/pipeline/calibration_text.h"
#include "normtweak/pipeline/memory_plan.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::pipeline {

// The float model twice: in F32, and in the compute dtype (the same model if that is F32).
struct FloatModel {
  model::Checkpoint checkpoint;
  model::Decoder exact, passes;
  WritingMemory writing, writing_in_training;  // for write_rows() (pipeline/write_text.h)
};
FloatModel load_float_model(model::Checkpoint checkpoint, const Compute& compute, const RunMemory& memory);

// Runs `work` and adds its duration to seconds[name].
void timed(std::map<std::string, double>& seconds, const std::string& name, const std::function<void()>& work);

// The calibration text and its split; prepare_text() also adds a note with the number of rows in each part.
struct RunText {
  calibrate::TokenBatch all;
  tweak::TextSplit split;
};
RunText prepare_text(const RunCalibration& calibration, const TextSource& source, const FloatModel& floats,
                     ProgressSink& progress, const Processes& processes);

}  // namespace normtweak::pipeline
