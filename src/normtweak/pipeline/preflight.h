// Checks that run before the long work starts.
#pragma once
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <vector>

#include "normtweak/base/progress.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/pipeline/calibration_text.h"
#include "normtweak/pipeline/planned_linears.h"
#include "normtweak/pipeline/run_types.h"
#include "normtweak/pipeline/save_formats.h"
#include "normtweak/pipeline/tuned_floats.h"
#include "normtweak/quantize/plan.h"

namespace normtweak::pipeline {

// Throws Error naming the first linear that is quantized to a block type, if the format has codes: none of these hold
// blocks. The message names the formats that do. Throws Error naming the first linear whose input is rounded, if the
// format has none: nothing would tell its readers.
void check_format_holds(const SaveFormat& format, const std::vector<PlannedLinear>& linears);

// Throws Error if a plan does not fit a linear's shape (naming the linear, and what fits all), if no linear is to be
// quantized, if a rule matches no linear (naming the rule), or if linears that read one input round it differently.
// linears: of that plan and model.
void check_plan_for_model(const quantize::QuantizationPlan& plan, const model::Checkpoint& checkpoint,
                          const std::vector<PlannedLinear>& linears);

// The largest of 128, 64, 32 and 16 that divides the columns of every linear that `plan` quantizes in groups and whose
// group size no rule sets; 128 if there is none. Reads only the config. Throws Error saying what to give if none does.
int standard_group_size(const quantize::QuantizationPlan& plan, const model::Checkpoint& checkpoint);

// Throws Error for what the tweak would only find out after the work before it; adds notes for what has no effect.
// text: the size of the calibration text.
void check_tweak(const TweakOptions& tweak, const TunableCounts& counts, const TextSize& text, ProgressSink& progress);

// Throws Error if codes are to be learned and no linear has codes that can be, or the model is transformed first, whose
// weights the codes could not be led back to. Adds a note for linears whose codes stay as they are.
void check_learned_codes(const QuantizeOptions& options, const std::vector<PlannedLinear>& linears,
                         ProgressSink& progress);

// The inputs of a run: its models, its calibration text, and the texts that it reports on.
std::vector<std::filesystem::path> inputs(std::initializer_list<const model::Checkpoint*> models,
                                          const TextSource& text, const External& external);

// An empty path is no output. Throws UsageError if `output` is one of `inputs`, or a folder with one of them in it,
// since it would be replaced. Throws Error if `output` cannot be created, if its disk lacks room for `bytes`, or if it
// is a folder that contains anything but an earlier result.
void check_output(const std::filesystem::path& output, OutputKind kind,
                  const std::vector<std::filesystem::path>& inputs, std::int64_t bytes);

// Adds a note on what `checkpoint` has and a saved copy will lack: a tokenizer that cannot be read, or, in a GGUF file,
// the parts of a multimodal model beside its language model.
void note_missing(const model::Checkpoint& checkpoint, OutputKind output, ProgressSink& progress);

}  // namespace normtweak::pipeline
