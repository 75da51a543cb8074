#include "normtweak/pipeline/convert_model.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/model/unread_tensors.h"
#include "normtweak/pipeline/preflight.h"
#include "normtweak/pipeline/save_formats.h"

namespace normtweak::pipeline {
namespace {

// The config of a result excludes all parts beside the language model.
void note_dequantized(const model::Checkpoint& source, ProgressSink& progress) {
  if (source.outer_config.is_null()) return;
  const auto own = model::family_names(source);
  std::vector<std::string> beside;
  for (const auto& name : source.tensors->names()) {
    if (!own.contains(name) && source.tensors->outline(name)) beside.push_back(name);
  }
  if (beside.empty()) return;
  progress.note(
      fmt::format("{}: {} beside the language model, such as {}, is quantized; the result has the same values "
                  "as floats, which take more room",
                  source.path, counted(static_cast<std::int64_t>(beside.size()), "linear"), beside.front()));
}

}  // namespace

ConvertResult convert_model(const ConvertOptions& options, ProgressSink& progress) {
  const auto& format = find_save_format(options.format);
  if (format.converted == nullptr) {
    fail("--format {}: holds no codes, so that a conversion would lose them; choose a format with codes", format.name);
  }
  const auto source = model::open_checkpoint(options.model);
  report_notes(source, progress);
  model::refuse_unread_tensors(source);
  note_missing(source, format.output, progress);
  note_dequantized(source, progress);
  check_output(options.output, format.output, inputs({&source}, {}, {}), 0);
  const auto converted = format.converted(source, format);
  ConvertResult result = {.from = converted->from(),
                          .to = std::string(format.name),
                          .linears = converted->linears(),
                          .bytes = converted->bytes(),
                          .readers = converted->readers()};
  check_output(options.output, format.output, inputs({&source}, {}, {}), result.bytes);
  progress.note(fmt::format("{}: {}", options.output.string(), formats::readers_line(result.readers)));
  converted->write(options.output);
  return result;
}

}  // namespace normtweak::pipeline
