#include <fmt/format.h>

#include <algorithm>

#include "normtweak/base/error.h"
#include "normtweak/pipeline/blockwise.h"
#include "normtweak/pipeline/prepare_quantize.h"
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

RunResult quantize_model(const PreparedQuantize& prepared, ProgressSink& progress) {
  const auto& options = prepared.options;
  const auto& checkpoint = prepared.checkpoint;
  const auto& [plan, linears] = prepared.planned;
  const auto& writer = *prepared.writer;
  const auto& external = prepared.external;
  const auto& calibration = prepared.calibration;
  const auto& processes = options.compute.processes;
  const auto& format = find_save_format(options.format);
  auto result = prepared.result;

  auto needs = needs_to_quantize(plan, linears, options.tweak, calibration.size, external, prepared.counts);
  needs.rounds_outside = writer.rounds_outside();
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
    result.rounded = std::move(run.rounded);
  });
  std::optional<UntouchedCopy> copy;
  if (options.tweak.method != TweakMethod::none && processes.is_first()) {
    timed(result.seconds, "save", [&] {
      const auto whole = with_blocks(floats.exact, quantized);
      copy.emplace(
          untouched_place(options.output, format.output), format.output,
          [&] { return prepared.bytes + writer.copy_bytes(whole); },
          [&](const std::filesystem::path& place) { writer.write_copy(whole, place); }, progress);
    });
  }
  const auto tweaked =
      run_tweak(floats, start, quantized, text.split, options.tweak, &plan, result, progress, processes);
  if (!processes.is_first()) return result;  // rank 0 judges and saves
  const auto save = [&](const model::Decoder& kept) { writer.write(kept, options.output); };
  finish(floats, quantized, tweaked, text, external, {writer.as_stored_outside(floats.exact), options.output, save},
         result, progress);
  if (copy) copy->remove();
  return result;
}

RunResult quantize_model(const QuantizeOptions& options, ProgressSink& progress) {
  PreparedQuantize prepared(options, progress);
  return quantize_model(prepared, progress);
}

}  // namespace normtweak::pipeline
