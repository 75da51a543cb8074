// A quantize run in two halves, so that several tweaks can start from what was quantized once.
#pragma once
#include "normtweak/pipeline/prepare_quantize.h"
#include "normtweak/pipeline/session.h"

namespace normtweak::pipeline {

// What a run holds when its blocks are quantized.
struct QuantizedRun {
  FloatModel floats;
  RunText text;
  model::Decoder start;      // of a block-by-block tweak
  model::Decoder quantized;  // untouched
  RunResult result;          // what is known of it so far
};

// tuned_floats: reserve memory to tune so many, if that is more than the run's own tweak does.
QuantizedRun quantize_blocks(const PreparedQuantize& prepared, std::int64_t tuned_floats, ProgressSink& progress);

// prepared: as for quantize_blocks(), but for the output and an end-to-end tweak or none.
RunResult tweak_and_save(const PreparedQuantize& prepared, const QuantizedRun& run, ProgressSink& progress);

}  // namespace normtweak::pipeline
