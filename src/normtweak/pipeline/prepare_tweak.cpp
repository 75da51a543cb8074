#include "normtweak/pipeline/prepare_tweak.h"

#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/formats/gguf_split.h"
#include "normtweak/model/checkpoint_readers.h"
#include "normtweak/pipeline/output_kind.h"
#include "normtweak/pipeline/preflight.h"
#include "normtweak/pipeline/same_model.h"
#include "normtweak/pipeline/wide_norms.h"

namespace normtweak::pipeline {
namespace {

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

model::Checkpoint opened(const TweakRunOptions& options, ProgressSink& progress) {
  auto checkpoint = with_codes(model::open_checkpoint(options.quantized));
  return options.wide_norms ? with_wide_norms(std::move(checkpoint), progress) : checkpoint;
}

}  // namespace

PreparedTweak::PreparedTweak(TweakRunOptions of, ProgressSink& progress)
    : options(std::move(of)),
      quantized(opened(options, progress)),
      base(quantized),
      reference(model::open_checkpoint(options.reference)) {
  report_notes(quantized, progress);
  report_notes(reference, progress);
  if (model::is_quantized(reference)) fail("{}: is quantized; --reference needs the float model", options.reference);
  check_same_model(quantized, reference);
  std::error_code unknown;
  if (std::filesystem::equivalent(quantized.path, reference.path, unknown)) {
    fail("{}: is --reference itself; give the quantized model", options.quantized);
  }
  check_outputs(options, quantized, inputs({&quantized, &reference}, options.text, options.external));
  note_folders_left(quantized, progress);
  note_missing(quantized, output_kind_of(quantized), progress);
  external = read_external(options.external, reference, progress);
  calibration = read_calibration(options.text, reference, options.compute.processes);
  check_fresh_text(calibration, options.text, options.tweak);
  counts = tunable_floats(quantized);
  check_tweak(options.tweak, counts, calibration.size, progress);
  result.readers = readers_of(quantized);
  result.model = options.quantized;
}

}  // namespace normtweak::pipeline
