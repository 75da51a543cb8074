#include <fmt/format.h>

#include "normtweak/base/error.h"
#include "normtweak/pipeline/blockwise.h"
#include "normtweak/pipeline/calibration_text.h"
#include "normtweak/pipeline/preflight.h"
#include "normtweak/pipeline/run.h"
#include "normtweak/pipeline/steps.h"
#include "normtweak/pipeline/stored_floats.h"
#include "normtweak/pipeline/tuned_floats.h"
#include "normtweak/pipeline/untouched_copy.h"
#include "normtweak/quantize/gptq_block.h"

namespace normtweak::pipeline {
namespace {

// 16-bit models store scales in their own dtype, so that readers do not round them again; F32 models use F16.
at::ScalarType scale_type_for(at::ScalarType stored) { return stored == at::kFloat ? at::kHalf : stored; }

// In memory: one byte per code, and an F32 scale and zero per group.
double quantized_bytes(const quantize::LinearPlan& plan) {
  return 1 + (plan.group_size > 0 ? 8.0 / static_cast<double>(plan.group_size) : 0);
}

// Whether any linear may be quantized by GPTQ; rules can give any linear any method.
bool may_use_gptq(const quantize::QuantizationPlan& plan) {
  return quantize::find_quantizer(plan.standard.method).needs_hessian || !plan.rules.empty();
}

// Whether drift correction may apply to any linear.
bool may_correct_drift(const quantize::QuantizationPlan& plan) {
  return plan.drift_correction > 0 && may_use_gptq(plan);
}

// The plan for this model, with a group size that fits it and scales in the stored dtype. If no linear needs a Hessian,
// token weights and drift correction are turned off, since they would cost passes over the whole model.
quantize::QuantizationPlan plan_for_model(const QuantizeOptions& options, const model::Checkpoint& checkpoint) {
  auto plan = options.plan;
  if (options.standard_group_size) plan.standard.group_size = standard_group_size(checkpoint);
  plan.standard.scale_type = scale_type_for(checkpoint.numbers.stored_type);
  check_plan_for_model(plan, checkpoint);
  if (!wants_hessians(plan, checkpoint)) {
    plan.token_weights = quantize::TokenWeighting::none;
    plan.drift_correction = 0;
  }
  return plan;
}

RunNeeds needs_of(const quantize::QuantizationPlan& plan, const model::Checkpoint& original,
                  const model::Checkpoint& checkpoint, const QuantizeOptions& options) {
  const auto text = calibration_size(options.text, checkpoint);
  const bool weighs_tokens = plan.token_weights != quantize::TokenWeighting::none;
  return {.quantized_bytes = quantized_bytes(plan.standard),
          .rounds_outside = converts_floats(original, checkpoint.numbers.stored_type),
          .calibration_tokens = text.tokens(),
          .corrects_drift = may_correct_drift(plan),
          .sweeps = (plan.standard.sweeps > 0 || !plan.rules.empty()) && may_use_gptq(plan),
          .weighed_row_tokens = weighs_tokens ? text.row_tokens : 0,
          .tuned_floats = tuned_floats(checkpoint, plan, options.tweak)};
}

// The result, and the copy of what was quantized.
void check_outputs(const QuantizeOptions& options, const model::Checkpoint& original,
                   const model::Checkpoint& checkpoint, ProgressSink& progress) {
  const auto read = inputs({&original}, options.text, options.external);
  check_output(options.output, read, estimated_bytes(original, checkpoint.numbers.stored_type));
  if (options.tweak.method == TweakMethod::none) return;
  const auto copy = untouched_folder(options.output);
  check_output(copy, read, 0);
  if (std::filesystem::exists(copy)) {
    progress.note(fmt::format("{}: an earlier run's quantized model; this run replaces it", copy.string()));
  }
}

void note_slow_rounding(const quantize::QuantizationPlan& plan, c10::Device device, ProgressSink& progress) {
  if (plan.standard.method != "gptq") return;
  if (const auto reason = quantize::slow_rounding_reason(device); !reason.empty()) {
    progress.note(fmt::format("the columns are rounded on the CPU, which takes longer: {}", reason));
  }
}

}  // namespace

RunResult quantize_model(const QuantizeOptions& options, ProgressSink& progress) {
  RunResult result;
  const auto& processes = options.compute.processes;
  const auto& format = find_save_format(options.format);
  const auto original = model::open_checkpoint(options.model);
  report_notes(original, progress);
  if (model::is_quantized(original)) {
    fail("{}: is quantized already; give the float model, or use `normtweak tweak`", options.model);
  }
  auto checkpoint = original;
  checkpoint.numbers.stored_type = options.store_type.value_or(original.result_type);
  const auto plan = plan_for_model(options, checkpoint);
  check_outputs(options, original, checkpoint, progress);
  const auto stored = checkpoint.numbers.stored_type;
  if (converts_floats(original, stored)) check_stored_type(original, stored, plan);
  note_missing_tokenizer(original, progress);
  const auto external = read_external(options.external, checkpoint);
  result.model = options.model;
  result.method = plan.standard.method;
  result.bits = plan.standard.bits;
  result.group_size = quantize::find_quantizer(result.method).uses_groups ? plan.standard.group_size : 0;
  if (may_correct_drift(plan)) result.drift_correction = plan.drift_correction;

  const auto memory = plan_run(checkpoint, options.compute, needs_of(plan, original, checkpoint, options),
                               available_memory(options.compute));
  if (const auto note = describe(memory); !note.empty()) progress.note(note);
  note_slow_rounding(plan, options.compute.device, progress);
  const auto floats = load_float_model(checkpoint, options.compute, memory);
  auto start = floats.passes;
  start.blocks.keep_new(memory.quantized);
  RunText text;
  timed(result.seconds, "generate", [&] { text = prepare_text(options.text, floats, progress, processes); });
  result.samples = text.all.samples();
  result.tokens_per_sample = text.all.tokens();
  model::Decoder quantized;
  timed(result.seconds, "quantize", [&] {
    quantized = run_blocks(floats.exact, floats.passes, start, text.split.train,
                           {.plan = &plan, .layerwise = {}, .processes = processes}, progress)
                    .decoder;
  });
  std::optional<UntouchedCopy> copy;
  if (options.tweak.method != TweakMethod::none && processes.is_first()) {
    timed(result.seconds, "save",
          [&] { copy.emplace(original, with_blocks(floats.exact, quantized), options.output, progress); });
  }
  const auto tweaked =
      run_tweak(floats, start, quantized, text.split, options.tweak, &plan, result, progress, processes);
  if (!processes.is_first()) return result;  // rank 0 judges and saves
  const auto outside = converts_floats(original, stored) ? with_stored_outside(floats.exact, stored) : floats.exact;
  finish(floats, quantized, tweaked, text, external, {outside, original, options.output, format}, result, progress);
  if (copy) copy->remove();
  return result;
}

}  // namespace normtweak::pipeline
