// The summary that quantize and tweak print at the end.
#pragma once
#include <string>

#include "normtweak/pipeline/run_types.h"

namespace normtweak::cli {

std::string run_summary(const pipeline::RunResult& result, const std::string& output);

}  // namespace normtweak::cli
