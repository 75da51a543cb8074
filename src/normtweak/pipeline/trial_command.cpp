#include "normtweak/pipeline/trial_command.h"

#include <algorithm>
#include <utility>

#include "normtweak/pipeline/run.h"

namespace normtweak::pipeline {
namespace fs = std::filesystem;
namespace {

// The flags that decide how the model is quantized.
Json quantize_flags(const Grid& grid, Json flags) {
  for (const auto& key : grid) {
    if (key.of_tweak) flags.erase(key.name);
  }
  return flags;
}

}  // namespace

void QuantizeTrials::check(const Json& flags, const fs::path& output) {
  const PreparedQuantize prepared(options_of_(flags, output), silent_progress());
  tuned_floats_ = std::max(tuned_floats_, tuned_floats(prepared.counts, prepared.options.tweak));
}

// The trial's, which may be that of the trial before.
const QuantizedRun& QuantizeTrials::quantized(const PreparedQuantize& prepared, const Json& flags,
                                              ProgressSink& progress) {
  auto own = quantize_flags(grid_, flags);
  if (run_ && own == run_flags_) {
    progress.note("starts from what the trial before quantized");
    return *run_;
  }
  run_.reset();  // its memory is needed for the next one
  run_ = quantize_blocks(prepared, tuned_floats_, progress);
  run_flags_ = std::move(own);
  return *run_;
}

RunResult QuantizeTrials::run(const Json& flags, const fs::path& output, const TextSource& text,
                              ProgressSink& progress) {
  auto options = options_of_(flags, output);
  options.text = text;
  const PreparedQuantize prepared(std::move(options), progress);
  const bool quantizes_itself = prepared.options.tweak.method == TweakMethod::layerwise;  // as it goes
  if (!quantizes_itself) return tweak_and_save(prepared, quantized(prepared, flags, progress), progress);
  run_.reset();
  return quantize_model(prepared, progress);
}

void TweakTrials::check(const Json& flags, const fs::path& output) {
  const PreparedTweak prepared(options_of_(flags, output), silent_progress());
  tuned_floats_ = std::max(tuned_floats_, tuned_floats(prepared.counts, prepared.options.tweak));
}

RunResult TweakTrials::run(const Json& flags, const fs::path& output, const TextSource& text, ProgressSink& progress) {
  auto options = options_of_(flags, output);
  options.text = text;
  const PreparedTweak prepared(std::move(options), progress);
  const auto needs = needs_of(prepared, tuned_floats_);
  if (!run_ || run_needs_ != needs) {
    run_.reset();  // its memory is needed for the next one
    run_ = load_run(prepared, needs, progress);
    run_needs_ = needs;
  }
  return tweak_and_save(prepared, *run_, progress);
}

}  // namespace normtweak::pipeline
