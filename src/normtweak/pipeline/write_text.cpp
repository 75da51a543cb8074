#include "normtweak/pipeline/write_text.h"

#include "normtweak/base/device/memory.h"
#include "normtweak/base/stopwatch.h"
#include "normtweak/pipeline/memory_plan.h"

namespace normtweak::pipeline {
namespace {

// What is said of a model's text was said of the first.
class WithoutNotes : public ProgressSink {
 public:
  explicit WithoutNotes(ProgressSink& sink) : sink_(sink) {}
  void report(const ProgressReport& report) override { sink_.report(report); }
  void note(std::string_view) override {}

 private:
  ProgressSink& sink_;
};

}  // namespace

calibrate::TokenBatch write_rows(const FloatModel& floats, const WritingMemory& memory,
                                 const calibrate::TextOptions& options, ProgressSink& progress,
                                 const Processes& processes) {
  calibrate::TokenBatch rows;
  floats.exact.blocks.release_copies();
  {
    auto writer = floats.passes;
    writer.workspace = memory.workspace;
    if (memory.brings_blocks && calibrate::runs_model(options)) {
      writer.blocks = floats.passes.blocks.brought_to_device();
      for (int i = 0; i < writer.blocks.size(); ++i) writer.blocks.load(i);  // now, so that linears can be joined
    }
    rows = calibrate::make_text(floats.checkpoint, writer, options, progress, processes);
  }
  floats.passes.blocks.release_copies();
  release_cached_memory(floats.passes.device);
  return_freed_memory();
  return rows;
}

calibrate::TokenBatch write_later_rows(const TextSource& source, const calibrate::TokenBatch& like, std::int64_t number,
                                       const FloatModel& floats, const std::function<bool()>& stops,
                                       ProgressSink& progress, const Processes& processes) {
  auto options = calibrate::options_to_go_on(like, number);
  options.batch = source.self.batch;
  options.stops = stops;
  WithoutNotes silent(progress);
  return write_rows(floats, floats.writing_in_training, options, silent, processes);
}

WrittenText write_text(const RunCalibration& text, const TextSource& source, const model::Checkpoint& checkpoint,
                       const Compute& compute, ProgressSink& progress) {
  Stopwatch watch;
  if (text.given) return {*text.given, watch.seconds()};
  const auto load = plan_writing(checkpoint, compute, text.size.row_tokens, available_memory(compute));
  if (const auto note = describe(load); !note.empty()) progress.note(note);
  const auto decoder = load_decoder(checkpoint, load);
  watch = Stopwatch();
  auto batch = calibrate::make_text(checkpoint, decoder, source.self, progress, compute.processes);
  return {std::move(batch), watch.seconds()};
}

}  // namespace normtweak::pipeline
