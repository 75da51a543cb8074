// The figures of a command as JSON, under the keys that scripts rely on.
#pragma once
#include <optional>
#include <string>

#include "normtweak/base/json/json.h"
#include "normtweak/evaluate/lambada.h"
#include "normtweak/evaluate/scores.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::report {

// quantize and tweak: bits, bits_per_weight, perplexity.{float,quantized,tweaked}, kld.{quantized,tweaked}, recovered,
// guard, rejected (of a tweaked state that was not kept), steps, training.stopped, settings, output.{path,bytes},
// seconds, evaluations (external texts), lambada.{float,quantized,tweaked}, ...
Json run_report(const pipeline::RunResult& result);

// Results of eval on a text, on LAMBADA or on both.
struct Evaluation {
  bool with_reference = false;
  std::string protocol;  // of the text
  std::optional<evaluate::Scores> text;
  std::optional<evaluate::LambadaScores> lambada, reference_lambada;
  double text_seconds = 0, lambada_seconds = 0;
};

// eval: perplexity.{value | float,quantized}, kld, top1_agreement, tokens_scored, tokens_per_second;
// lambada.{accuracy,stderr,perplexity,examples}, with a reference lambada.{float,quantized}.{accuracy,...}; seconds.
Json evaluation_report(const Evaluation& evaluation);

// The share of the quantization loss that the tweak recovered: (quantized - tweaked) / (quantized - float).
double recovered_share(double of_float, double of_quantized, double of_tweaked);

}  // namespace normtweak::report
