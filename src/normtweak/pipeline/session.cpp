#include "normtweak/pipeline/session.h"

#include <c10/util/accumulate.h>

#include <chrono>

#include "normtweak/base/error.h"
#include "normtweak/pipeline/calibration_text.h"
#include "normtweak/pipeline/preflight.h"

namespace normtweak::pipeline {
namespace {

// The weights in F32, and once more in the type of the passes where that is another one.
std::int64_t memory_of(const model::Checkpoint& checkpoint, const Compute& compute) {
  std::int64_t weights = 0;
  for (const auto& name : checkpoint.tensors->names())
    weights += c10::multiply_integers(checkpoint.tensors->info(name).shape);
  const auto passes = compute.type == at::kFloat ? 0 : static_cast<std::int64_t>(c10::elementSize(compute.type));
  return weights * (4 + passes);
}

}  // namespace

FloatModel load_float_model(model::Checkpoint checkpoint, const Compute& compute) {
  check_memory(memory_of(checkpoint, compute), compute.device);
  FloatModel model = {.checkpoint = std::move(checkpoint), .exact = {}, .passes = {}};
  model.exact = load_decoder(model.checkpoint, {.device = compute.device, .type = at::kFloat});
  model.passes = compute.type == at::kFloat
                     ? model.exact
                     : load_decoder(model.checkpoint, {.device = compute.device, .type = compute.type});
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
  text.split = tweak::split_text(text.all);
  progress.note(fmt::format("text: {} rows of {} tokens; {} to quantize and tweak, {} to choose, {} to confirm",
                            text.all.samples(), text.all.tokens(), text.split.train.samples(),
                            text.split.select.samples(), text.split.confirm.samples()));
  return text;
}

}  // namespace normtweak::pipeline
