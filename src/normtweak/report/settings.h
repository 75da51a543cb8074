// The settings that led to a result, with defaults resolved: enough to repeat the run and to compare it with others.
#pragma once
#include "normtweak/base/json.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::report {

// quantize.{method, bits, group_size, ..., rules} if the run quantized; tweak.{loss, lr, ...} with the keys that its
// method reads; text: where the calibration text came from. The seed, device, dtype and threads stand beside them.
Json settings_report(const pipeline::RunResult& result);

}  // namespace normtweak::report
