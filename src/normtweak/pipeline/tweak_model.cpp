#include <optional>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/pipeline/calibration_text.h"
#include "normtweak/pipeline/patched_file.h"
#include "normtweak/pipeline/preflight.h"
#include "normtweak/pipeline/result_readers.h"
#include "normtweak/pipeline/run.h"
#include "normtweak/pipeline/run_needs.h"
#include "normtweak/pipeline/same_model.h"
#include "normtweak/pipeline/save_checkpoint.h"
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
    if (const auto* blocks = std::get_if<weights::BlockWeight>(&linear.weight)) {
      result.method = blocks->type_name;
      result.bits = static_cast<int>(blocks->bits);
      result.group_size = blocks->sub_size;
      return;
    }
  }
}

bool is_file(const model::Checkpoint& checkpoint) { return !std::filesystem::is_directory(checkpoint.path); }

model::Checkpoint open_quantized(const std::string& model) {
  auto checkpoint = model::open_checkpoint(model);
  return is_file(checkpoint) ? with_codes(std::move(checkpoint)) : checkpoint;
}

// Of the blocks' linears, as the file stores them: blocks of several types, and floats of others than the norms'.
double stored_bits_per_weight(const model::Checkpoint& file) {
  double bits = 0, weights = 0;
  for (int block = 0; block < file.numbers.layers; ++block) {
    for (const auto& linear : linear_shapes(file, block)) {
      bits += 8.0 * static_cast<double>(file.tensors->info(linear.name + ".weight").stored_bytes);
      weights += static_cast<double>(linear.out * linear.in);
    }
  }
  return bits / weights;
}

// Where the result goes, in the format that it has.
void check_outputs(const TweakRunOptions& options, const model::Checkpoint& quantized, const SaveFormat& format,
                   const std::vector<std::filesystem::path>& read) {
  if (is_file(quantized)) {
    const auto bytes = static_cast<std::int64_t>(std::filesystem::file_size(quantized.path));
    check_output_file(options.output, read, bytes);
    check_output_file(options.patch, read, 0);
    return;
  }
  if (!options.patch.empty()) {
    fail_usage("--patch: has no effect, since {} is a folder, and only a GGUF file is changed in place; leave it out",
               quantized.path);
  }
  if (options.output.empty()) fail_usage("-o is missing: the folder for the result");
  check_output(options.output, read, estimated_bytes(quantized, quantized.numbers.stored_type, format, {}));
}

std::string output_name(const TweakRunOptions& options) {
  return (options.output.empty() ? options.patch : options.output).string();
}

}  // namespace

RunResult tweak_model(const TweakRunOptions& options, ProgressSink& progress) {
  RunResult result;
  const auto& processes = options.compute.processes;
  const auto quantized_checkpoint = open_quantized(options.quantized);
  std::optional<MappedFile> base;  // kept, whatever takes its name while this runs
  if (is_file(quantized_checkpoint)) base.emplace(quantized_checkpoint.path);
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
  check_outputs(options, quantized_checkpoint, format,
                inputs({&quantized_checkpoint, &reference}, options.text, options.external));
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
    if (base) {
      save_patched(quantized_checkpoint, base->bytes(), kept, {.file = options.output, .patch = options.patch});
    } else {
      save_checkpoint(quantized_checkpoint, kept, options.output, format);
    }
  };
  finish(floats, quantized, tweaked, text, external, {exact, output_name(options), save}, result, progress);
  if (base) result.bits_per_weight = stored_bits_per_weight(quantized_checkpoint);
  return result;
}

}  // namespace normtweak::pipeline
