// Text that a model writes: the float model of a run, or one that is loaded only for that.
#pragma once
#include <functional>

#include "normtweak/pipeline/calibration_text.h"
#include "normtweak/pipeline/session.h"

namespace normtweak::pipeline {

// New rows of text by the float model of a run. As `memory` plans it, blocks that the run keeps elsewhere are
// on the device while the text is written; on return their memory, the cache's and that of copies of streamed blocks is
// given back to the GPU. Nothing of the model is changed. The drawn ids depend on where the blocks are by the number of
// rows in a batch, which `batch` in the options fixes, and on a GPU by the rounding of joined linears. Besides the
// float model, the device must not hold more than the plan counted. Processes share the rows, and all get the whole
// text.
calibrate::TokenBatch write_rows(const FloatModel& floats, const WritingMemory& memory,
                                 const calibrate::TextOptions& options, ProgressSink& progress,
                                 const Processes& processes);

// A later text of training (1, 2, …): as many rows as `like` has, of as many tokens, made as its provenance says
// from another seed. source: how many rows are written at a time. stops: as that of tweak::FreshText.
calibrate::TokenBatch write_later_rows(const TextSource& source, const calibrate::TokenBatch& like, std::int64_t number,
                                       const FloatModel& floats, const std::function<bool()>& stops,
                                       ProgressSink& progress, const Processes& processes);

struct WrittenText {
  calibrate::TokenBatch batch;
  double seconds = 0;  // that writing it took
};

// By a model that is loaded only for that. text: of known_text() for the same source and checkpoint; what it gives
// already is taken.
WrittenText write_text(const RunCalibration& text, const TextSource& source, const model::Checkpoint& checkpoint,
                       const Compute& compute, ProgressSink& progress);

}  // namespace normtweak::pipeline
