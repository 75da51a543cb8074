// A tweak run up to its work: everything is checked, and nothing is loaded.
#pragma once
#include "normtweak/model/checkpoint.h"
#include "normtweak/pipeline/calibration_text.h"
#include "normtweak/pipeline/patched_file.h"
#include "normtweak/pipeline/run_types.h"
#include "normtweak/pipeline/tuned_floats.h"

namespace normtweak::pipeline {

struct PreparedTweak {
  // Throws Error for what can be known before the work starts; adds notes for what has no effect.
  PreparedTweak(TweakRunOptions of, ProgressSink& progress);
  PreparedTweak(const PreparedTweak&) = delete;
  PreparedTweak& operator=(const PreparedTweak&) = delete;

  TweakRunOptions options;
  model::Checkpoint quantized;  // with its codes
  BaseFiles base;               // of it; kept, whatever takes their names while this runs
  model::Checkpoint reference;
  ExternalTokens external;
  RunCalibration calibration;
  TunableCounts counts;
  RunResult result;  // what is known of it: the readers
};

}  // namespace normtweak::pipeline
