// The steps that quantize and tweak share, in the order in which they come.
#pragma once
#include "normtweak/pipeline/calibration_text.h"
#include "normtweak/pipeline/judge.h"
#include "normtweak/pipeline/run_types.h"
#include "normtweak/pipeline/session.h"

namespace normtweak::pipeline {

// quantized: the untouched state. start: the model that a block-by-block tweak starts from: the float model if it
// quantizes by `plan`, the quantized one if `plan` is null. Returns nullopt if the method is `none`, if the end-to-end
// tweak has no candidate that differs from the untouched state, or on ranks other than 0 if the method runs on one
// process only. source: how the text was written, for more of it.
std::optional<Tweaked> run_tweak(const FloatModel& floats, const model::Decoder& start, const model::Decoder& quantized,
                                 const tweak::TextSplit& text, const TextSource& source, const TweakOptions& options,
                                 const quantize::QuantizationPlan* plan, RunResult& result, ProgressSink& progress,
                                 const Processes& processes);

// What to save, and where.
struct Destination {
  const model::Decoder& outside;  // F32: everything outside the blocks, as the file will hold it
  std::filesystem::path output;
  std::function<void(const model::Decoder& kept)> save;
};

// Judges on held-out rows in F32, scores the external texts, and saves what the guard kept.
void finish(const FloatModel& floats, const model::Decoder& quantized, std::optional<Tweaked> tweaked,
            const RunText& text, const ExternalTokens& external, const Destination& destination, RunResult& result,
            ProgressSink& progress);

}  // namespace normtweak::pipeline
