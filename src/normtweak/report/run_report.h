// The figures of a command as JSON, under the keys that scripts rely on.
#pragma once
#include "normtweak/base/json/json.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::report {

// quantize and tweak: bits, bits_per_weight, perplexity.{float,quantized,tweaked}, kld.{quantized,tweaked}, recovered,
// guard, rejected (of a tweaked state that was not kept), steps, training.stopped, settings, output.{path,bytes},
// seconds, evaluations (external texts), lambada.{float,quantized,tweaked}, ...
Json run_report(const pipeline::RunResult& result);

// The share of the quantization loss that the tweak recovered: (quantized - tweaked) / (quantized - float).
double recovered_share(double of_float, double of_quantized, double of_tweaked);

}  // namespace normtweak::report
