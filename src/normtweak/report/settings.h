// The settings that led to a result, with defaults resolved: enough to repeat the run and to compare it with others.
#pragma once
#include "normtweak/base/json/json.h"
#include "normtweak/pipeline/run_types.h"

namespace normtweak::report {

// If the run quantized, quantize.{method, bits, group_size, ...}: the settings without rules if any linear has them,
// and otherwise those of most linears; quantize.rules; quantize.plans: {settings, linears} for each setting in effect,
// with the number of linears that have it and only the keys that its method reads ({"skip": true}: they stay float).
// tweak.{loss, lr, ...} with the keys that its method reads; text: where the calibration text came from. The seed,
// device, dtype and threads stand beside them.
Json settings_report(const pipeline::RunResult& result);

}  // namespace normtweak::report
