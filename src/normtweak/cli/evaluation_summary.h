// The summary that eval prints: all figures, a line for each task and model, and for each block of its drift.
#pragma once
#include <string>

#include "normtweak/pipeline/evaluate_model.h"

namespace normtweak::cli {

std::string evaluation_summary(const pipeline::EvaluationResult& result);

}  // namespace normtweak::cli
