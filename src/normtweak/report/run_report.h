// The figures of a command as JSON, under the keys that scripts rely on.
#pragma once
#include <filesystem>

#include "normtweak/base/json.h"
#include "normtweak/evaluate/scores.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::report {

// quantize and tweak: bits, bits_per_weight, perplexity.{float,quantized,tweaked}, kld.{quantized,tweaked}, recovered,
// guard, steps, seconds, evaluations (external texts), ...
Json run_report(const pipeline::RunResult& result);

// eval: perplexity.{value | float,quantized}, kld, top1_agreement, tokens_scored, tokens_per_second.
Json evaluation_report(const evaluate::Scores& scores, bool with_reference, std::string_view protocol, double seconds);

// The share of what quantization cost that the tweak won back: (quantized - tweaked) / (quantized - float).
double recovered_share(double of_float, double of_quantized, double of_tweaked);

}  // namespace normtweak::report
