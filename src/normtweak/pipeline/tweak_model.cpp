#include "normtweak/base/error.h"
#include "normtweak/formats/gguf_split.h"
#include "normtweak/model/checkpoint_readers.h"
#include "normtweak/pipeline/calibration_text.h"
#include "normtweak/pipeline/patched_file.h"
#include "normtweak/pipeline/preflight.h"
#include "normtweak/pipeline/run.h"
#include "normtweak/pipeline/run_needs.h"
#include "normtweak/pipeline/same_model.h"
#include "normtweak/pipeline/steps.h"
#include "normtweak/pipeline/tuned_floats.h"

namespace normtweak::pipeline {
namespace {

// Kind, bits and group size of the first quantized linear; the mean over all is in bits_per_weight.
void describe_weights(const model::Decoder& decoder, RunResult& result) {
  const auto block = decoder.blocks.stored(0);
  result.method = "float";
  result.bits = 8 * static_cast<int>(c10::elementSize(decoder.config.stored_type));
  for (const auto& [role, expert, linear] : block->linears) {
    if (!weights::is_quantized(linear.weight)) continue;
    const auto kind = weights::describe(linear.weight);
    result.method = kind.name;
    result.bits = kind.bits;
    result.group_size = kind.group_size;
    return;
  }
}

// Of the blocks' linears, as the file stores them: blocks of several types, and floats of others than the norms'.
double stored_bits_per_weight(const model::Checkpoint& file) {
  double bits = 0, weights = 0;
  for (int block = 0; block < file.numbers.layers; ++block) {
    for (const auto& linear : linear_shapes(file, block)) {
      const auto name = stored_name(file, linear.name + ".weight");
      bits += 8.0 * static_cast<double>(file.tensors->info(name).stored_bytes);
      weights += static_cast<double>(linear.out * linear.in);
    }
  }
  return bits / weights;
}

// A model of several files becomes as many.
std::vector<std::filesystem::path> output_parts(const std::filesystem::path& output, std::size_t count) {
  if (count > 1 && formats::gguf_parts_by_name(output) != count) {
    fail_usage("{}: the model is in {} files; name the first of the result, NAME-00001-of-{:05}.gguf", output.string(),
               count, count);
  }
  return formats::gguf_parts(output, count);
}

// Where the result goes, in the format that it has.
void check_outputs(const TweakRunOptions& options, const model::Checkpoint& quantized,
                   const std::vector<std::filesystem::path>& read) {
  const auto bytes = copied_bytes(quantized);
  const auto count = quantized.tensors->files().size();
  const auto kind = output_kind_of(quantized);
  if (kind == OutputKind::file && !options.output.empty()) {
    for (const auto& part : output_parts(options.output, count)) check_output(part, kind, read, bytes);
  } else {
    check_output(options.output, kind, read, bytes);
  }
  check_output(options.patch, OutputKind::file, read, 0);
}

std::string output_name(const TweakRunOptions& options) {
  return (options.output.empty() ? options.patch : options.output).string();
}

}  // namespace

RunResult tweak_model(const TweakRunOptions& options, ProgressSink& progress) {
  RunResult result;
  const auto& processes = options.compute.processes;
  const auto quantized_checkpoint = with_codes(model::open_checkpoint(options.quantized));
  const BaseFiles base(quantized_checkpoint);  // kept, whatever takes their names while this runs
  auto reference = model::open_checkpoint(options.reference);
  report_notes(quantized_checkpoint, progress);
  report_notes(reference, progress);
  if (model::is_quantized(reference)) fail("{}: is quantized; --reference needs the float model", options.reference);
  check_same_model(quantized_checkpoint, reference);
  std::error_code unknown;
  if (std::filesystem::equivalent(quantized_checkpoint.path, reference.path, unknown)) {
    fail("{}: is --reference itself; give the quantized model", options.quantized);
  }
  check_outputs(options, quantized_checkpoint,
                inputs({&quantized_checkpoint, &reference}, options.text, options.external));
  note_folders_left(quantized_checkpoint, progress);
  note_missing_tokenizer(quantized_checkpoint, progress);
  const auto external = read_external(options.external, reference, progress);
  const auto calibration = read_calibration(options.text, reference, processes);
  const auto counts = tunable_floats(quantized_checkpoint);
  check_tweak(options.tweak, counts, calibration.size, progress);
  result.readers = readers_of(quantized_checkpoint);
  const auto memory = plan_run(reference, options.compute,
                               needs_to_tweak(quantized_checkpoint, options.tweak, calibration.size, external, counts),
                               available_memory(options.compute));
  if (const auto note = describe(memory); !note.empty()) progress.note(note);
  FloatModel floats;
  model::Decoder exact;  // in F32, the values in the file; passes convert them on the fly
  timed(result.seconds, "load", [&] {
    floats = load_float_model(std::move(reference), options.compute, memory);
    exact = load_decoder(quantized_checkpoint, {.device = options.compute.device,
                                                .type = at::kFloat,
                                                .residence = memory.quantized,
                                                .workspace = memory.workspace});
  });
  const auto quantized = with_type(exact, options.compute.type);
  progress.note(fmt::format("{}: {}", output_name(options), formats::readers_line(result.readers)));
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
  const auto save = [&](const model::Decoder& kept) {
    save_patched(quantized_checkpoint, base, kept, {.model = options.output, .patch = options.patch});
  };
  finish(floats, quantized, tweaked, text, external, {exact, output_name(options), save}, result, progress);
  if (output_kind_of(quantized_checkpoint) == OutputKind::file)
    result.bits_per_weight = stored_bits_per_weight(quantized_checkpoint);
  return result;
}

}  // namespace normtweak::pipeline
