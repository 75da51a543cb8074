// The few lines that quantize and tweak end with.
#pragma once
#include <string>

#include "normtweak/pipeline/run_types.h"

namespace normtweak::cli {

std::string run_summary(const pipeline::RunResult& result, const std::string& output);

}  // namespace normtweak::cli
