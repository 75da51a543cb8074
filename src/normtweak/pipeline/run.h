// The long-running commands. Each runs all possible checks before the work starts, and saves at the end.
#pragma once
#include "normtweak/pipeline/prepare_quantize.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::pipeline {

// Quantizes a float model, tweaks it, judges the result on held-out rows and saves what the guard kept.
RunResult quantize_model(const QuantizeOptions& options, ProgressSink& progress);
RunResult quantize_model(const PreparedQuantize& prepared, ProgressSink& progress);  // of what is checked already

// Tweaks an already quantized model; its codes stay unchanged.
RunResult tweak_model(const TweakRunOptions& options, ProgressSink& progress);

}  // namespace normtweak::pipeline
