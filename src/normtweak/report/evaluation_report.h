// The figures of eval as JSON.
#pragma once
#include "normtweak/base/json/json.h"
#include "normtweak/pipeline/evaluate_model.h"

namespace normtweak::report {

// model; figures[].{task,text,metric,model,value,error,count}, all there are; and some of them under other keys:
//   of a text       perplexity.{protocol,stderr} with value, or with a reference float and quantized;
//   kld.{mean,stderr},
//                   top1_agreement, tokens_scored, tokens_per_second, context, windows. Of the protocol lm-eval, these
//                   are perplexities per word.
//   of LAMBADA      lambada.{accuracy,stderr,perplexity,examples}, or with a reference lambada.{float,quantized}.{...}
//   of all          seconds.{evaluate,TASK}
Json evaluation_report(const pipeline::EvaluationResult& result);

}  // namespace normtweak::report
