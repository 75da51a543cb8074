#include "normtweak/pipeline/session.h"

#include <fmt/format.h>

#include <chrono>

#include "normtweak/pipeline/calibration_text.h"

namespace normtweak::pipeline {

FloatModel load_float_model(model::Checkpoint checkpoint, const Compute& compute, const RunMemory& memory) {
  FloatModel model = {.checkpoint = std::move(checkpoint), .exact = {}, .passes = {}};
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
  const auto start = std::chrono::steady_clock::now();
  work();
  seconds[name] += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

RunText prepare_text(const TextSource& source, const FloatModel& floats, ProgressSink& progress,
                     const Processes& processes) {
  RunText text;
  text.all = calibration_text(source, floats.checkpoint, floats.passes, progress, processes);
  if (text.all.tokens() < 2) fail("rows of 1 token: at least 2 are needed, since what follows a token is predicted");
  text.split = tweak::split_text(text.all);
  progress.note(fmt::format("text: {} rows of {} tokens; {} to quantize and tweak, {} to choose, {} to confirm",
                            text.all.samples(), text.all.tokens(), text.split.train.samples(),
                            text.split.select.samples(), text.split.confirm.samples()));
  return text;
}

}  // namespace normtweak::pipeline
