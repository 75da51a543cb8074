// A quantize run in two halves, so that several tweaks can start from what was quantized once.
#pragma once
#include "normtweak/pipeline/memory_plan.h"
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

// What `prepared` needs of memory.
RunNeeds needs_of(const PreparedQuantize& prepared);

// needs: of memory, those of `prepared` or of all runs that start from it.
QuantizedRun quantize_blocks(const PreparedQuantize& prepared, const RunNeeds& needs, ProgressSink& progress);

// prepared: as for quantize_blocks(), but for the output and an end-to-end tweak or none.
RunResult tweak_and_save(const PreparedQuantize& prepared, const QuantizedRun& run, ProgressSink& progress);

}  // namespace normtweak::pipeline
