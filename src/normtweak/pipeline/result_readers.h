// Which programs will open a result, known before the work starts.
#pragma once
#include <vector>

#include "normtweak/formats/readers.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/pipeline/planned_linears.h"
#include "normtweak/pipeline/save_formats.h"

namespace normtweak::pipeline {

// Of `original` with its linears quantized as planned.
std::vector<formats::Reader> readers_of_quantized(const model::Checkpoint& original, const SaveFormat& format,
                                                  const std::vector<PlannedLinear>& linears);

}  // namespace normtweak::pipeline
