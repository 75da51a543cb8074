#include "normtweak/base/error.h"
#include "normtweak/pipeline/calibration_text.h"
#include "normtweak/pipeline/preflight.h"
#include "normtweak/pipeline/result_readers.h"
#include "normtweak/pipeline/run.h"
#include "normtweak/pipeline/run_needs.h"
#include "normtweak/pipeline/same_model.h"
#include "normtweak/pipeline/steps.h"
#include "normtweak/pipeline/tuned_floats.h"

namespace normtweak::pipeline {
namespace {

// Bits and group size of the first quantized linear; the mean over all is in bits_per_weight.
void describe_weights(const model::Decoder& decoder, RunResult& result) {
  const auto block = decoder.blocks.stored(0);
  result.method = "float";
  result.bits = 8 * static_cast<int>(c10::elementSize(decoder.config.stored_type));
  for (const auto& [role, expert, linear] : block->linears) {
    if (const auto* affine = std::get_if<weights::AffineWeight>(&linear.weight)) {
      result.method = "affine";
      result.bits = affine->bits;
      result.group_size = affine->group_size;
      return;
    }
    if (const auto* table = std::get_if<weights::CodebookWeight>(&linear.weight)) {
      result.method = "codebook";
      result.bits = table->bits;
      return;
    }
  }
}

}  // namespace

RunResult tweak_model(const TweakRunOptions& options, ProgressSink& progress) {
  RunResult result;
  const auto& processes = options.compute.processes;
  const auto quantized_checkpoint = model::open_checkpoint(options.quantized);
  auto reference = model::open_checkpoint(options.reference);
  report_notes(quantized_checkpoint, progress);
  report_notes(reference, progress);
  if (model::is_quantized(reference)) fail("{}: is quantized; --reference needs the float model", options.reference);
  check_same_model(quantized_checkpoint, reference);
  std::error_code unknown;
  if (std::filesystem::equivalent(quantized_checkpoint.path, reference.path, unknown)) {
    fail("{}: is --reference itself; give the quantized model", options.quantized);
  }
  const auto& format = find_save_format(model::is_quantized(quantized_checkpoint) ? "compressed-tensors" : "hf");
  check_output(options.output, inputs({&quantized_checkpoint, &reference}, options.text, options.external),
               estimated_bytes(quantized_checkpoint, quantized_checkpoint.numbers.stored_type, format, {}));
  note_missing_tokenizer(quantized_checkpoint, progress);
  const auto external = read_external(options.external, reference, progress);
  const auto calibration = read_calibration(options.text, reference, processes);
  const auto counts = tunable_floats(quantized_checkpoint);
  check_tweak(options.tweak, counts, calibration.size, progress);
  result.readers = readers_of_tweaked(quantized_checkpoint);
  const auto memory = plan_run(reference, options.compute,
                               needs_to_tweak(quantized_checkpoint, options.tweak, calibration.size, external, counts),
                               available_memory(options.compute));
  if (const auto note = describe(memory); !note.empty()) progress.note(note);
  const auto floats = load_float_model(std::move(reference), options.compute, memory);
  // In F32, the values in the file; passes convert them on the fly.
  const auto exact = load_decoder(quantized_checkpoint, {.device = options.compute.device,
                                                         .type = at::kFloat,
                                                         .residence = memory.quantized,
                                                         .workspace = memory.workspace});
  const auto quantized = with_type(exact, options.compute.type);
  progress.note(fmt::format("{}: {}", options.output.string(), formats::readers_line(result.readers)));
  result.model = options.quantized;
  describe_weights(quantized, result);

  RunText text;
  timed(result.seconds, "generate",
        [&] { text = prepare_text(calibration, options.text, floats, progress, processes); });
  note_texts_seen(external, text.all, progress);
  result.samples = text.all.samples();
  result.tokens_per_sample = text.all.tokens();
  const auto tweaked =
      run_tweak(floats, quantized, quantized, text.split, options.tweak, nullptr, result, progress, processes);
  if (!processes.is_first()) return result;  // rank 0 judges and saves
  finish(floats, quantized, tweaked, text, external, {exact, quantized_checkpoint, options.output, format}, result,
         progress);
  return result;
}

}  // namespace normtweak::pipeline
