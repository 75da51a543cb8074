#include <algorithm>
#include <cmath>

#include "normtweak/pipeline/loaded_run.h"
#include "normtweak/pipeline/output_kind.h"
#include "normtweak/pipeline/planned_linears.h"
#include "normtweak/pipeline/run.h"
#include "normtweak/pipeline/run_needs.h"
#include "normtweak/pipeline/steps.h"

namespace normtweak::pipeline {
namespace {

// Kind, bits and group size of the first quantized linear; the mean over all is in bits_per_weight.
void describe_weights(const model::Decoder& decoder, RunResult& result) {
  const auto block = decoder.blocks.outlined(0);
  result.method = "float";
  result.bits = 8 * static_cast<int>(c10::elementSize(decoder.config.stored_type));
  for (const auto& [role, expert, linear] : block.linears) {
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

// With --norms f32 all floats count as F32, as they are loaded; linears that stay float are stored as they were.
void count_float_linears_as_stored(const model::Checkpoint& file, RunResult& result) {
  double excess = 0, weights = 0;
  for (int block = 0; block < file.numbers.layers; ++block) {
    for (const auto& linear : linear_shapes(file, block)) {
      const auto count = static_cast<double>(linear.out * linear.in);
      weights += count;
      if (coded_outline(file, linear)) continue;
      const auto stored = file.tensors->info(stored_name(file, linear.name + ".weight")).stored_bytes;
      excess += 32 * count - 8.0 * static_cast<double>(stored);
    }
  }
  result.bits_per_weight -= excess / weights;
  if (result.method == "float") result.bits = static_cast<int>(std::lround(result.bits_per_weight));
}

std::string output_name(const TweakRunOptions& options) {
  return (options.output.empty() ? options.patch : options.output).string();
}

}  // namespace

RunNeeds needs_of(const PreparedTweak& prepared) {
  return needs_to_tweak(prepared.quantized, prepared.options.tweak, prepared.calibration.size, prepared.external,
                        prepared.counts);
}

LoadedRun load_run(const PreparedTweak& prepared, const RunNeeds& needs, ProgressSink& progress) {
  const auto& options = prepared.options;
  const auto& compute = options.compute;
  LoadedRun run = {.floats = {}, .exact = {}, .quantized = {}, .text = {}, .result = prepared.result};
  auto& result = run.result;
  const auto memory = plan_run(prepared.reference, compute, needs, available_memory(compute));
  if (const auto note = describe(memory); !note.empty()) progress.note(note);
  timed(result.seconds, "load", [&] {
    run.floats = load_float_model(prepared.reference, compute, memory);
    run.exact = load_decoder(
        prepared.quantized,
        {.device = compute.device, .type = at::kFloat, .residence = memory.quantized, .workspace = memory.workspace});
  });
  run.quantized = with_type(run.exact, compute.type);  // converts on the fly
  progress.note(fmt::format("{}: {}", output_name(options), formats::readers_line(result.readers)));
  describe_weights(run.quantized, result);
  timed(result.seconds, "generate",
        [&] { run.text = prepare_text(prepared.calibration, options.text, run.floats, progress, compute.processes); });
  note_texts_seen(prepared.external, run.text.all, progress);
  result.samples = run.text.all.samples();
  result.tokens_per_sample = run.text.all.tokens();
  return run;
}

RunResult tweak_and_save(const PreparedTweak& prepared, const LoadedRun& run, ProgressSink& progress) {
  const auto& options = prepared.options;
  const auto& processes = options.compute.processes;
  const auto& [floats, exact, quantized, text, so_far] = run;
  auto result = so_far;
  const auto tweaked = run_tweak(floats, quantized, quantized, text.split, options.text, options.tweak, nullptr, result,
                                 progress, processes);
  if (!processes.is_first()) return result;  // rank 0 judges and saves
  const auto save = [&](const model::Decoder& kept) {
    save_patched(prepared.quantized, prepared.base, kept, {.model = options.output, .patch = options.patch});
  };
  finish(floats, quantized, tweaked, text, prepared.external, {exact, output_name(options), save}, result, progress);
  if (output_kind_of(prepared.quantized) == OutputKind::file)
    result.bits_per_weight = stored_bits_per_weight(prepared.quantized);
  else if (options.wide_norms)
    count_float_linears_as_stored(prepared.quantized, result);
  return result;
}

RunResult tweak_model(const TweakRunOptions& options, ProgressSink& progress) {
  const PreparedTweak prepared(options, progress);
  return tweak_and_save(prepared, load_run(prepared, needs_of(prepared), progress), progress);
}

}  // namespace normtweak::pipeline
