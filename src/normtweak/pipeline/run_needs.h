// What a run needs of memory, from its options and the config, for memory_plan.h.
#pragma once
#include "normtweak/pipeline/calibration_text.h"
#include "normtweak/pipeline/memory_plan.h"
#include "normtweak/pipeline/tuned_floats.h"

namespace normtweak::pipeline {

// plan: of `linears`; text: the size of the calibration text; external: the texts to report on; counts: of the model as
// quantized.
RunNeeds needs_to_quantize(const quantize::QuantizationPlan& plan, const std::vector<PlannedLinear>& linears,
                           const TweakOptions& tweak, const TextSize& text, const ExternalTokens& external,
                           const TunableCounts& counts);

RunNeeds needs_to_tweak(const model::Checkpoint& quantized, const TweakOptions& tweak, const TextSize& text,
                        const ExternalTokens& external, const TunableCounts& counts);

// Those of `needs` for a run that also serves one with those of `other`, which is tweaked otherwise end to end: the
// larger of each need that such a tweak has.
RunNeeds with_larger_tweak(RunNeeds needs, const RunNeeds& other);

}  // namespace normtweak::pipeline
