#include "normtweak/pipeline/convert_model.h"

#include "normtweak/base/error.h"
#include "normtweak/model/unread_tensors.h"
#include "normtweak/pipeline/preflight.h"
#include "normtweak/pipeline/save_formats.h"

namespace normtweak::pipeline {

ConvertResult convert_model(const ConvertOptions& options, ProgressSink& progress) {
  const auto& format = find_save_format(options.format);
  if (format.converted == nullptr) {
    fail("--format {}: holds no codes, so that a conversion would lose them; choose a format with codes", format.name);
  }
  const auto source = model::open_checkpoint(options.model);
  report_notes(source, progress);
  model::refuse_unread_tensors(source);
  note_missing(source, format.output, progress);
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
