#include "normtweak/pipeline/steps.h"

#include <algorithm>

#include "normtweak/base/device/memory.h"
#include "normtweak/base/error.h"
#include "normtweak/pipeline/blockwise.h"
#include "normtweak/pipeline/write_text.h"

namespace normtweak::pipeline {
namespace {

std::string_view method_name(TweakMethod method) {
  const auto* found = std::ranges::find(kTweakMethods, method, &TweakMethodName::method);
  return found == std::end(kTweakMethods) ? "" : found->name;
}

// Tweaks block by block. The untouched state is a separate quantization run, since a block's inputs depend on the
// tweak.
Tweaked tweak_blocks(const FloatModel& floats, const model::Decoder& start, const calibrate::TokenBatch& text,
                     const TweakOptions& options, const quantize::QuantizationPlan* plan, RunResult& result,
                     ProgressSink& progress) {
  auto run = run_blocks(floats.exact, floats.passes, start, text,
                        {.plan = plan, .transform = result.transform, .layerwise = options.layerwise}, progress);
  result.blocks = std::move(run.tweaked);
  result.steps = run.steps;
  return {.model = std::move(run.decoder), .name = "tweaked"};
}

std::optional<Tweaked> tweak_end_to_end(const FloatModel& floats, const model::Decoder& quantized,
                                        const tweak::TextSplit& text, const TextSource& source,
                                        const TweakOptions& options, RunResult& result, ProgressSink& progress,
                                        const Processes& processes) {
  tweak::FreshText fresh;
  if (options.fresh_text) {
    fresh = [&](std::int64_t number, const std::function<bool()>& stops) {
      return write_later_rows(source, text.train, number, floats, stops, progress, processes);
    };
    if (floats.writing.brings_blocks && !floats.writing_in_training.brings_blocks) {
      progress.note(
          "--fresh-text: beside what the tweak keeps, the blocks do not fit on the device while text is written; they "
          "are brought one by one, which is slow");
    }
  }
  auto run = tweak::tweak_end_to_end(floats.passes, quantized, text, options.end_to_end, progress, processes,
                                     &floats.exact, fresh);
  std::optional<Tweaked> tweaked;
  if (run.chosen != "untouched") {
    tweaked = {.model = std::move(run.decoder), .name = run.chosen};
  } else if (run.runner_up) {
    tweaked = {.model = std::move(run.runner_up->decoder), .name = run.runner_up->name, .won = false};
  }
  run.decoder = {};
  run.runner_up.reset();
  result.steps = run.steps;
  result.end_to_end = std::move(run);
  return tweaked;
}

// Of a file, or of all below a folder.
std::int64_t bytes_below(const std::filesystem::path& folder) {
  std::int64_t bytes = 0;
  std::error_code none;
  if (std::filesystem::is_regular_file(folder, none)) {
    return static_cast<std::int64_t>(std::filesystem::file_size(folder, none));
  }
  std::error_code gone;  // the folder is in place, and whoever changes it now changes its size
  for (auto entry = std::filesystem::recursive_directory_iterator(folder, gone);
       entry != std::filesystem::recursive_directory_iterator(); entry.increment(gone)) {
    if (entry->is_regular_file(gone)) bytes += static_cast<std::int64_t>(entry->file_size(gone));
  }
  return bytes;
}

std::int64_t stored_bytes(const formats::TensorSource& tensors) {
  std::int64_t bytes = 0;
  for (const auto& name : tensors.names()) bytes += tensors.info(name).stored_bytes;
  return bytes;
}

}  // namespace

std::optional<Tweaked> run_tweak(const FloatModel& floats, const model::Decoder& start, const model::Decoder& quantized,
                                 const tweak::TextSplit& text, const TextSource& source, const TweakOptions& options,
                                 const quantize::QuantizationPlan* plan, RunResult& result, ProgressSink& progress,
                                 const Processes& processes) {
  const bool shared = options.method == TweakMethod::end_to_end;
  if (!processes.is_first() && !shared) return std::nullopt;
  result.tweak_method = method_name(options.method);
  result.tweak = options;
  std::optional<Tweaked> tweaked;
  timed(result.seconds, "tweak", [&] {
    if (options.method == TweakMethod::layerwise) {
      tweaked = tweak_blocks(floats, start, text.train, options, plan, result, progress);
    } else if (options.method == TweakMethod::end_to_end) {
      tweaked = tweak_end_to_end(floats, quantized, text, source, options, result, progress, processes);
    }
  });
  return tweaked;
}

void finish(const FloatModel& floats, const model::Decoder& quantized, std::optional<Tweaked> tweaked,
            const RunText& text, const ExternalTokens& external, const Destination& destination, RunResult& result,
            ProgressSink& progress) {
  return_freed_memory();
  const auto untouched = with_blocks(destination.outside, quantized);
  if (tweaked) tweaked->model = with_blocks(destination.outside, tweaked->model);
  Judged judged;
  timed(result.seconds, "evaluate", [&] {
    judged = judge_on_held_out(floats.exact, untouched, tweaked, text.split, result.tweak.unguarded, progress);
    const auto* kept = judged.kept_tweaked ? &judged.kept : nullptr;
    result.external = score_external(floats.exact, untouched, kept, external.texts, progress);
    if (!external.lambada.empty()) result.lambada = score_lambada(floats.exact, untouched, kept, external, progress);
  });
  result.held_out = std::move(judged.held_out);
  result.rejected = std::move(judged.rejected);
  if (result.rejected) result.rejected_state = tweaked->name;
  result.held_out_samples = text.split.confirm.samples();
  result.text = text.all.provenance;
  result.verdict = judged.verdict;
  result.kept = judged.kept_tweaked ? tweaked->name : "untouched";
  if (result.tweak_method == "none") {
    result.verdict.reason = "no tweak was asked for";
  } else if (!tweaked) {
    result.verdict.reason = tweak::kNoneBetter;  // nor any different, with a finite score
  }
  result.bits_per_weight = bits_per_weight(judged.kept);
  timed(result.seconds, "save", [&] { destination.save(judged.kept); });
  result.output = destination.output;
  result.output_bytes = bytes_below(destination.output);
  result.float_bytes = stored_bytes(*floats.checkpoint.tensors);
}

}  // namespace normtweak::pipeline
