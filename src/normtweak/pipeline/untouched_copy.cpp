#include "normtweak/pipeline/untouched_copy.h"

#include <fmt/format.h>

#include <exception>
#include <system_error>

#include "normtweak/base/files/file.h"
#include "normtweak/base/files/stale_outputs.h"
#include "normtweak/base/files/temporary_path.h"
#include "normtweak/base/strings/library_messages.h"
#include "normtweak/pipeline/preflight.h"

namespace normtweak::pipeline {
namespace fs = std::filesystem;

fs::path untouched_place(const fs::path& output, OutputKind kind) {
  auto place = resolve_output(output);
  place += kind == OutputKind::file ? ".untouched.gguf" : ".untouched";
  return resolve_output(place);
}

UntouchedCopy::UntouchedCopy(const fs::path& place, OutputKind kind, const std::function<std::int64_t()>& bytes,
                             const std::function<void(const fs::path& place)>& save, ProgressSink& progress) {
  try {
    check_output(place, kind, {}, bytes());
    save(place);
    place_ = place;
    progress.note(fmt::format(
        "quantized; while the tweak runs, the model as it is now is in {}, from which `normtweak tweak` can go on",
        place.string()));
  } catch (const std::exception& error) {  // whatever it is: the run itself is sound
    progress.note(
        fmt::format("no copy of the quantized model is kept while the tweak runs: {}", library_message(error)));
  }
}

void UntouchedCopy::remove() const {
  if (place_.empty()) return;
  const TemporaryPath gone(staging_name(place_));
  std::error_code ignored;
  fs::rename(place_, gone.path(), ignored);  // at once, so that no half of it stays
}

}  // namespace normtweak::pipeline
