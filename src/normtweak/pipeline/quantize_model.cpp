#include <fmt/format.h>

#include <algorithm>

#include "normtweak/base/device/memory.h"
#include "normtweak/base/error.h"
#include "normtweak/pipeline/blockwise.h"
#include "normtweak/pipeline/prepare_quantize.h"
#include "normtweak/pipeline/quantized_run.h"
#include "normtweak/pipeline/run.h"
#include "normtweak/pipeline/run_needs.h"
#include "normtweak/pipeline/save_formats.h"
#include "normtweak/pipeline/steps.h"
#include "normtweak/pipeline/untouched_copy.h"
#include "normtweak/quantize/gptq_block.h"
#include "normtweak/transform/transforms.h"

namespace normtweak::pipeline {
namespace {

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

RunNeeds needs_of(const PreparedQuantize& prepared) {
  const auto& [plan, linears] = prepared.planned;
  auto needs = needs_to_quantize(plan, linears, prepared.options.tweak, prepared.calibration.size, prepared.external,
                                 prepared.counts);
  needs.rounds_outside = prepared.writer->rounds_outside();
  needs.transforms = transform::find_transform(prepared.options.transform.name).apply != nullptr;
  return needs;
}

QuantizedRun quantize_blocks(const PreparedQuantize& prepared, const RunNeeds& needs, ProgressSink& progress) {
  const auto& options = prepared.options;
  const auto& checkpoint = prepared.checkpoint;
  const auto& [plan, linears] = prepared.planned;
  const auto& calibration = prepared.calibration;
  const auto& processes = options.compute.processes;
  QuantizedRun run = {.floats = {}, .text = {}, .start = {}, .quantized = {}, .result = prepared.result};
  auto& result = run.result;

  const auto memory = plan_run(checkpoint, options.compute, needs, available_memory(options.compute));
  if (const auto note = describe(memory); !note.empty()) progress.note(note);
  note_slow_rounding(linears, options.compute.device, progress);
  timed(result.seconds, "load", [&] { run.floats = load_float_model(checkpoint, options.compute, memory); });
  note_readers(options.output, result.readers, find_save_format(options.format), progress);
  run.start = run.floats.passes;
  run.start.blocks.keep_new(memory.quantized);
  timed(result.seconds, "generate",
        [&] { run.text = prepare_text(calibration, options.text, run.floats, progress, processes); });
  note_texts_seen(prepared.external, run.text.all, progress);
  result.samples = run.text.all.samples();
  result.tokens_per_sample = run.text.all.tokens();
  timed(result.seconds, "quantize", [&] {
    auto blocks = run_blocks(run.floats.exact, run.floats.passes, run.start, run.text.split.train,
                             {.plan = &plan,
                              .transform = options.transform,
                              .layerwise = {},
                              .keeps_places = memory.keeps_places,
                              .processes = processes},
                             progress);
    run.quantized = std::move(blocks.decoder);
    result.transformed = std::move(blocks.transformed);
    result.rounded = std::move(blocks.rounded);
  });
  return_freed_memory();
  return run;
}

RunResult tweak_and_save(const PreparedQuantize& prepared, const QuantizedRun& run, ProgressSink& progress) {
  const auto& options = prepared.options;
  const auto& writer = *prepared.writer;
  const auto& processes = options.compute.processes;
  const auto& [floats, text, start, quantized, so_far] = run;
  auto result = so_far;
  const bool becomes_result = writer.copy_has_format_of_result();
  std::optional<UntouchedCopy> copy;
  if (options.tweak.method != TweakMethod::none && processes.is_first()) {
    timed(result.seconds, "save", [&] {
      const auto kind = find_save_format(options.format).output;
      const auto whole = with_blocks(run.floats.exact, run.quantized);
      const auto place = untouched_place(options.output, kind);
      const auto room = [&] {
        const CopySizes sizes = {writer.copy_bytes(whole), prepared.bytes, becomes_result};
        return room_for_copy(place, options.output, sizes);
      };
      const auto write = [&writer, whole](const std::filesystem::path& to) { writer.write_copy(whole, to); };
      copy.emplace(place, kind, room, write, options.compute.device, progress);
    });
  }
  const auto tweaked = run_tweak(floats, start, quantized, text.split, options.text, options.tweak,
                                 &prepared.planned.plan, result, progress, processes);
  if (!processes.is_first()) return result;  // rank 0 judges and saves
  const auto save = [&](const model::Decoder& kept) {
    if (copy) copy->wait();
    const bool takes_copy = copy && becomes_result;
    writer.write(kept, options.output, takes_copy ? copy->take_for(options.output) : std::filesystem::path());
  };
  finish(floats, quantized, tweaked, text, prepared.external,
         {writer.as_stored_outside(floats.exact), options.output, save}, result, progress);
  if (copy) copy->remove();
  return result;
}

RunResult quantize_model(const PreparedQuantize& prepared, ProgressSink& progress) {
  return tweak_and_save(prepared, quantize_blocks(prepared, needs_of(prepared), progress), progress);
}

RunResult quantize_model(const QuantizeOptions& options, ProgressSink& progress) {
  PreparedQuantize prepared(options, progress);
  return quantize_model(prepared, progress);
}

}  // namespace normtweak::pipeline
