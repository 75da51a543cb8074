// A quantize run up to its work: everything is checked, and nothing is loaded.
#pragma once
#include <memory>
#include <vector>

#include "normtweak/model/checkpoint.h"
#include "normtweak/pipeline/calibration_text.h"
#include "normtweak/pipeline/planned_linears.h"
#include "normtweak/pipeline/result_writer.h"
#include "normtweak/pipeline/run_types.h"
#include "normtweak/pipeline/tuned_floats.h"

namespace normtweak::pipeline {

// The plan for a model, with a group size that fits it and scales in the stored dtype. Token weights are turned off if
// no linear needs a Hessian, and drift correction if no linear's method takes it: either costs passes over the whole
// model.
struct ModelPlan {
  quantize::QuantizationPlan plan;
  std::vector<PlannedLinear> linears;
};

struct PreparedQuantize {
  // Throws Error for what can be known before the work starts; adds notes for what has no effect.
  PreparedQuantize(QuantizeOptions of, ProgressSink& progress);
  PreparedQuantize(const PreparedQuantize&) = delete;
  PreparedQuantize& operator=(const PreparedQuantize&) = delete;

  QuantizeOptions options;
  model::Checkpoint original;
  std::unique_ptr<ResultWriter> writer;
  model::Checkpoint checkpoint;  // the original with the dtype in which floats will be stored
  ModelPlan planned;
  std::int64_t bytes = 0;  // of the result
  ExternalTokens external;
  RunCalibration calibration;
  TunableCounts counts;
  RunResult result;  // what is known of it: the plan, the readers
};

}  // namespace normtweak::pipeline
