#include "normtweak/pipeline/session.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include "normtweak/base/stopwatch.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/calibrate/seen_rows.h"
#include "normtweak/pipeline/write_text.h"

namespace normtweak::pipeline {
namespace {

// Each process reads the file itself, and files may differ between machines.
void check_same_text(const calibrate::TokenBatch& text, const Processes& processes) {
  const auto facts = at::tensor({text.samples(), text.tokens(), text.ids.sum().item<std::int64_t>()}, at::kLong);
  const auto sum = facts.clone();
  processes.all_reduce_sum({sum});
  if (!sum.equal(facts * processes.size()))
    fail("the processes have different calibration texts; give all the same file");
}

}  // namespace

FloatModel load_float_model(model::Checkpoint checkpoint, const Compute& compute, const RunMemory& memory) {
  FloatModel model = {.checkpoint = std::move(checkpoint),
                      .exact = {},
                      .passes = {},
                      .writing = memory.writing,
                      .writing_in_training = memory.writing_in_training};
  const auto load = [&](at::ScalarType type, model::Residence residence) {
    return load_decoder(
        model.checkpoint,
        {.device = compute.device, .type = type, .residence = residence, .workspace = memory.workspace});
  };
  model.exact = load(at::kFloat, memory.exact);
  model.passes = compute.type == at::kFloat ? model.exact : load(compute.type, memory.passes);
  if (memory.widened) model.exact.blocks = widened_blocks(model.passes);
  return model;
}

void timed(std::map<std::string, double>& seconds, const std::string& name, const std::function<void()>& work) {
  const Stopwatch watch;
  work();
  seconds[name] += watch.seconds();
}

// Rows of a file may repeat; of a text that the model writes, that is its own way.
void note_repeated_rows(const tweak::TextSplit& text, ProgressSink& progress) {
  const auto repeated = calibrate::rows_seen_in(text.train.ids, text.confirm);
  if (repeated == 0) return;
  progress.note(fmt::format(
      "text: the rows that train hold {} of the {} that confirm; figures on a text seen in training flatter the result",
      repeated, counted(text.confirm.samples(), "row")));
}

RunText prepare_text(const RunCalibration& calibration, const TextSource& source, const FloatModel& floats,
                     ProgressSink& progress, const Processes& processes) {
  RunText text;
  if (calibration.given) {
    text.all = *calibration.given;
  } else {
    const auto note = describe(floats.writing);
    if (!note.empty() && calibrate::runs_model(source.self)) progress.note(note);
    text.all = write_rows(floats, floats.writing, source.self, progress, processes);
  }
  check_same_text(text.all, processes);
  text.split = tweak::split_text(text.all);
  progress.note(fmt::format("text: {} of {}; {} to quantize and tweak, {} to choose, {} to confirm",
                            counted(text.all.samples(), "row"), counted(text.all.tokens(), "token"),
                            text.split.train.samples(), text.split.select.samples(), text.split.confirm.samples()));
  if (calibration.given) note_repeated_rows(text.split, progress);
  return text;
}

}  // namespace normtweak::pipeline
