// The calibration text alone, made or read with a model that is loaded only for that.
#pragma once
#include "normtweak/pipeline/calibration_text.h"

namespace normtweak::pipeline {

struct WrittenText {
  calibrate::TokenBatch batch;
  double seconds = 0;  // that writing it took
};

// text: of known_text() for the same source and checkpoint; what it gives already is taken.
WrittenText write_text(const RunCalibration& text, const TextSource& source, const model::Checkpoint& checkpoint,
                       const Compute& compute, ProgressSink& progress);

}  // namespace normtweak::pipeline
