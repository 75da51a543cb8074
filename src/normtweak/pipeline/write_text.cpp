#include "normtweak/pipeline/write_text.h"

#include "normtweak/base/stopwatch.h"
#include "normtweak/pipeline/memory_plan.h"

namespace normtweak::pipeline {

WrittenText write_text(const RunCalibration& text, const TextSource& source, const model::Checkpoint& checkpoint,
                       const Compute& compute, ProgressSink& progress) {
  Stopwatch watch;
  if (text.given) return {*text.given, watch.seconds()};
  const auto load = plan_models({&checkpoint}, compute, available_memory(compute));
  if (const auto note = describe(load); !note.empty()) progress.note(note);
  const auto decoder = load_decoder(checkpoint, load);
  watch = Stopwatch();
  auto batch = calibrate::make_text(checkpoint, decoder, source.self, progress, compute.processes);
  return {std::move(batch), watch.seconds()};
}

}  // namespace normtweak::pipeline
