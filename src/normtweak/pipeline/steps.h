// The steps that quantize and tweak share, in the order in which they come.
#pragma once
#include "normtweak/pipeline/calibration_text.h"
#include "normtweak/pipeline/run_types.h"
#include "normtweak/pipeline/save_checkpoint.h"
#include "normtweak/pipeline/session.h"

namespace normtweak::pipeline {

// quantized: the untouched state; start: what a layer-wise run begins with (the float model if it is to quantize by
// `plan`, the quantized one if `plan` is null). Nothing comes back if nothing was tweaked, or for the better;
// nor in other processes than the first if the method is not one that they share.
std::optional<model::Decoder> run_tweak(const FloatModel& floats, const model::Decoder& start,
                                        const model::Decoder& quantized, const tweak::TextSplit& text,
                                        const TweakOptions& options, const quantize::QuantizationPlan* plan,
                                        RunResult& result, ProgressSink& progress, const Processes& processes);

// Where the result goes.
struct Destination {
  const model::Decoder& outside;      // F32: what stands outside the blocks, as the file will hold it
  const model::Checkpoint& original;  // what the tensors that did not change are taken from
  std::filesystem::path output;
  const SaveFormat& format;
};

// Judges on held-out rows in F32, scores the external texts, and saves what the guard kept.
void finish(const FloatModel& floats, const model::Decoder& quantized, const std::optional<model::Decoder>& tweaked,
            const RunText& text, const ExternalTokens& external, const Destination& destination, RunResult& result,
            ProgressSink& progress);

}  // namespace normtweak::pipeline
