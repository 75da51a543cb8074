#include "normtweak/pipeline/prepare_quantize.h"

#include <fmt/format.h>

#include "normtweak/base/error.h"
#include "normtweak/base/files/path_exists.h"
#include "normtweak/pipeline/preflight.h"
#include "normtweak/pipeline/result_readers.h"
#include "normtweak/pipeline/save_formats.h"
#include "normtweak/pipeline/served_by.h"
#include "normtweak/pipeline/transform_plan.h"
#include "normtweak/pipeline/unread_settings.h"
#include "normtweak/pipeline/untouched_copy.h"
#include "normtweak/weights/block_type.h"

namespace normtweak::pipeline {
namespace {

// types: those that the format prescribes.
ModelPlan plan_for_model(const QuantizeOptions& options, const model::Checkpoint& checkpoint, BlockTypes types,
                         ProgressSink& progress) {
  auto plan = options.plan;
  plan.block_types = std::move(types);
  if (options.standard_group_size && plan.block_types.empty())
    plan.standard.group_size = standard_group_size(plan, checkpoint);
  plan.standard.scale_type = scale_type_for(checkpoint.numbers.stored_type, find_save_format(options.format));
  plan.standard.loaded_type = checkpoint.numbers.stored_type;
  auto linears = planned_linears(plan, checkpoint);
  check_plan_for_model(plan, checkpoint, linears);
  check_format_holds(find_save_format(options.format), linears);
  check_settings_are_read(options, linears, progress);
  if (!wants_hessians(linears)) plan.token_weights = quantize::TokenWeighting::none;
  if (!wants_drift(linears)) plan.drift_correction = 0;
  return {std::move(plan), std::move(linears)};
}

// The result, which has so many bytes, and the copy of what was quantized.
void check_outputs(const QuantizeOptions& options, const model::Checkpoint& original, std::int64_t bytes,
                   ProgressSink& progress) {
  const auto read = inputs({&original}, options.text, options.external);
  const auto kind = find_save_format(options.format).output;
  check_output(options.output, kind, read, bytes);
  if (options.tweak.method == TweakMethod::none) return;
  const auto copy = untouched_place(options.output, kind);
  check_output(copy, kind, read, 0);
  if (path_exists(copy)) {
    progress.note(fmt::format("{}: an earlier run's quantized model; this run replaces it", copy.string()));
  }
}

void describe_plan(const ModelPlan& planned, RunResult& result) {
  result.plan = planned.plan;
  result.plan_shares = plan_shares(planned.linears);
  auto& described = result.plan->standard;
  described = main_plan(described, result.plan_shares);
  result.method = described.method;
  const auto* blocks = weights::find_block_type(described.block_type);
  result.bits = code_bits(described);
  result.group_size = has_free_groups(described) ? described.group_size
                      : has_codebooks(described) ? described.codebook_group
                      : blocks != nullptr        ? blocks->sub_size
                                                 : 0;
  if (planned.plan.drift_correction > 0) result.drift_correction = planned.plan.drift_correction;
}

}  // namespace

PreparedQuantize::PreparedQuantize(QuantizeOptions of, ProgressSink& progress)
    : options(std::move(of)), original(model::open_checkpoint(options.model)) {
  const auto& format = find_save_format(options.format);
  report_notes(original, progress);
  if (model::is_quantized(original)) {
    fail("{}: is quantized already; give the float model, or use `normtweak tweak`", options.model);
  }
  writer = format.writer(original, format, {options.store_type, options.gguf_type});
  checkpoint = original;
  checkpoint.numbers.stored_type = writer->float_type();
  planned = plan_for_model(options, checkpoint, writer->block_types(), progress);
  const auto& [plan, linears] = planned;
  result.transform = options.transform;
  result.not_folded = check_transform(options, original, plan, linears, progress);
  bytes = writer->follow(linears);
  check_outputs(options, original, bytes, progress);
  writer->check_floats(plan);
  note_missing(original, format.output, progress);
  external = read_external(options.external, checkpoint, progress);
  calibration = read_calibration(options.text, checkpoint, options.compute.processes);
  check_fresh_text(calibration, options.text, options.tweak);
  counts = tunable_floats(checkpoint, linears);
  check_tweak(options.tweak, counts, calibration.size, progress);
  check_learned_codes(options, linears, progress);
  result.readers = readers_of_quantized(original, format, linears);
  check_served(options, plan, checkpoint, result.readers);
  if (const auto note = note_on_served(options, checkpoint); !note.empty()) progress.note(note);
  result.model = options.model;
  describe_plan(planned, result);
}

}  // namespace normtweak::pipeline
