#include <fmt/format.h>

#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/base/files/path_exists.h"
#include "normtweak/pipeline/blockwise.h"
#include "normtweak/pipeline/calibration_text.h"
#include "normtweak/pipeline/preflight.h"
#include "normtweak/pipeline/result_readers.h"
#include "normtweak/pipeline/run.h"
#include "normtweak/pipeline/run_needs.h"
#include "normtweak/pipeline/served_by.h"
#include "normtweak/pipeline/steps.h"
#include "normtweak/pipeline/transform_plan.h"
#include "normtweak/pipeline/tuned_floats.h"
#include "normtweak/pipeline/unread_settings.h"
#include "normtweak/pipeline/untouched_copy.h"
#include "normtweak/quantize/gptq_block.h"
#include "normtweak/weights/block_type.h"

namespace normtweak::pipeline {
namespace {

// The plan for this model, with a group size that fits it and scales in the stored dtype. Token weights are turned off
// if no linear needs a Hessian, and drift correction if no linear's method takes it: either costs passes over the whole
// model.
struct ModelPlan {
  quantize::QuantizationPlan plan;
  std::vector<PlannedLinear> linears;
};
// types: those that the format prescribes.
ModelPlan plan_for_model(const QuantizeOptions& options, const model::Checkpoint& checkpoint, BlockTypes types,
                         ProgressSink& progress) {
  auto plan = options.plan;
  plan.block_types = std::move(types);
  if (options.standard_group_size && plan.block_types.empty())
    plan.standard.group_size = standard_group_size(plan, checkpoint);
  plan.standard.scale_type = scale_type_for(checkpoint.numbers.stored_type, find_save_format(options.format));
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
  result.bits = blocks != nullptr ? static_cast<int>(blocks->bits()) : described.bits;
  result.group_size = has_free_groups(described) ? described.group_size : blocks != nullptr ? blocks->sub_size : 0;
  if (planned.plan.drift_correction > 0) result.drift_correction = planned.plan.drift_correction;
}

// Who will open the result, and what to do where transformers cannot.
void note_readers(const std::filesystem::path& output, const std::vector<formats::Reader>& readers,
                  const SaveFormat& format, ProgressSink& progress) {
  progress.note(fmt::format("{}: {}", output.string(), formats::readers_line(readers)));
  const bool closed = std::ranges::any_of(
      readers, [](const auto& reader) { return reader.program == "transformers" && !reader.opens; });
  if (closed && format.codes != nullptr)
    progress.note("--format hf writes dequantized weights, which open in all of these");
}

void note_slow_rounding(const std::vector<PlannedLinear>& linears, c10::Device device, ProgressSink& progress) {
  if (!wants_drift(linears)) return;  // what rounds column by column
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
  const auto writer = format.writer(original, format, {options.store_type, options.gguf_type});
  auto checkpoint = original;
  checkpoint.numbers.stored_type = writer->float_type();
  const auto planned = plan_for_model(options, checkpoint, writer->block_types(), progress);
  const auto& plan = planned.plan;
  const auto& linears = planned.linears;
  result.transform = options.transform;
  result.not_folded = check_transform(options, original, plan, linears, progress);
  const auto bytes = writer->follow(linears);
  check_outputs(options, original, bytes, progress);
  writer->check_floats(plan);
  note_missing_tokenizer(original, progress);
  const auto external = read_external(options.external, checkpoint, progress);
  const auto calibration = read_calibration(options.text, checkpoint, processes);
  const auto counts = tunable_floats(checkpoint, linears);
  check_tweak(options.tweak, counts, calibration.size, progress);
  result.readers = readers_of_quantized(original, format, linears);
  check_served(options, plan, checkpoint, result.readers);
  result.model = options.model;
  describe_plan(planned, result);

  auto needs = needs_to_quantize(plan, linears, options.tweak, calibration.size, external, counts);
  needs.rounds_outside = writer->rounds_outside();
  needs.transforms = transform::find_transform(options.transform.name).apply != nullptr;
  const auto memory = plan_run(checkpoint, options.compute, needs, available_memory(options.compute));
  if (const auto note = describe(memory); !note.empty()) progress.note(note);
  note_slow_rounding(linears, options.compute.device, progress);
  const auto floats = load_float_model(checkpoint, options.compute, memory);
  note_readers(options.output, result.readers, format, progress);
  auto start = floats.passes;
  start.blocks.keep_new(memory.quantized);
  RunText text;
  timed(result.seconds, "generate",
        [&] { text = prepare_text(calibration, options.text, floats, progress, processes); });
  note_texts_seen(external, text.all, progress);
  result.samples = text.all.samples();
  result.tokens_per_sample = text.all.tokens();
  model::Decoder quantized;
  timed(result.seconds, "quantize", [&] {
    auto run =
        run_blocks(floats.exact, floats.passes, start, text.split.train,
                   {.plan = &plan, .transform = options.transform, .layerwise = {}, .processes = processes}, progress);
    quantized = std::move(run.decoder);
    result.transformed = std::move(run.transformed);
  });
  std::optional<UntouchedCopy> copy;
  if (options.tweak.method != TweakMethod::none && processes.is_first()) {
    timed(result.seconds, "save", [&] {
      const auto whole = with_blocks(floats.exact, quantized);
      copy.emplace(
          untouched_place(options.output, format.output), format.output,
          [&] { return bytes + writer->copy_bytes(whole); },
          [&](const std::filesystem::path& place) { writer->write_copy(whole, place); }, progress);
    });
  }
  const auto tweaked =
      run_tweak(floats, start, quantized, text.split, options.tweak, &plan, result, progress, processes);
  if (!processes.is_first()) return result;  // rank 0 judges and saves
  const auto save = [&](const model::Decoder& kept) { writer->write(kept, options.output); };
  finish(floats, quantized, tweaked, text, external, {writer->as_stored_outside(floats.exact), options.output, save},
         result, progress);
  if (copy) copy->remove();
  return result;
}

}  // namespace normtweak::pipeline
