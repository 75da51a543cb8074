#include "normtweak/pipeline/trial_command.h"

#include <utility>

#include "normtweak/pipeline/run.h"
#include "normtweak/pipeline/run_needs.h"

namespace normtweak::pipeline {
namespace fs = std::filesystem;

// The flags that decide how the model is quantized.
Json QuantizeTrials::quantize_flags(Json flags) const {
  for (const auto& key : grid_) {
    if (key.of_tweak) flags.erase(key.name);
  }
  return flags;
}

namespace {

// As it goes, in passes of its own that no other trial shares.
bool quantizes_itself(const PreparedQuantize& prepared) {
  return prepared.options.tweak.method == TweakMethod::layerwise;
}

}  // namespace

void QuantizeTrials::check(const Json& flags, const fs::path& output) {
  const PreparedQuantize prepared(options_of_(flags, output), silent_progress());
  if (quantizes_itself(prepared)) return;
  const auto needs = needs_of(prepared);
  auto& most = needs_.try_emplace(quantize_flags(flags), needs).first->second;
  most = with_larger_tweak(most, needs);
}

// The trial's, which may be that of the trial before.
const QuantizedRun& QuantizeTrials::quantized(const PreparedQuantize& prepared, const Json& flags,
                                              ProgressSink& progress) {
  auto own = quantize_flags(flags);
  if (run_ && own == run_flags_) {
    progress.note("starts from what the trial before quantized");
    return *run_;
  }
  run_.reset();  // its memory is needed for the next one
  run_ = quantize_blocks(prepared, with_larger_tweak(needs_of(prepared), needs_.at(own)), progress);
  run_flags_ = std::move(own);
  return *run_;
}

RunResult QuantizeTrials::run(const Json& flags, const fs::path& output, const TextSource& text,
                              ProgressSink& progress) {
  auto options = options_of_(flags, output);
  options.text = text;
  const PreparedQuantize prepared(std::move(options), progress);
  if (!quantizes_itself(prepared)) return tweak_and_save(prepared, quantized(prepared, flags, progress), progress);
  run_.reset();
  return quantize_model(prepared, progress);
}

void TweakTrials::check(const Json& flags, const fs::path& output) {
  const PreparedTweak prepared(options_of_(flags, output), silent_progress());
  most_ = with_larger_tweak(most_, needs_of(prepared));
}

RunResult TweakTrials::run(const Json& flags, const fs::path& output, const TextSource& text, ProgressSink& progress) {
  auto options = options_of_(flags, output);
  options.text = text;
  const PreparedTweak prepared(std::move(options), progress);
  const auto needs = with_larger_tweak(needs_of(prepared), most_);
  if (!run_ || run_needs_ != needs) {
    run_.reset();  // its memory is needed for the next one
    run_ = load_run(prepared, needs, progress);
    run_needs_ = needs;
  }
  return tweak_and_save(prepared, *run_, progress);
}

}  // namespace normtweak::pipeline
