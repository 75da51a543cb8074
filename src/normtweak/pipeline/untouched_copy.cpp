#include "normtweak/pipeline/untouched_copy.h"

#include <fmt/format.h>

#include <exception>
#include <system_error>

#include "normtweak/base/files/file.h"
#include "normtweak/base/files/stale_outputs.h"
#include "normtweak/base/files/temporary_path.h"
#include "normtweak/base/strings/library_messages.h"
#include "normtweak/pipeline/preflight.h"
#include "normtweak/pipeline/save_checkpoint.h"

namespace normtweak::pipeline {
namespace fs = std::filesystem;

fs::path untouched_folder(const fs::path& output) {
  auto folder = resolve_output(output);
  folder += ".untouched";
  return resolve_output(folder);
}

UntouchedCopy::UntouchedCopy(const model::Checkpoint& original, const model::Decoder& quantized, const fs::path& output,
                             std::int64_t result_bytes, ProgressSink& progress) {
  try {
    const auto folder = untouched_folder(output);
    const auto& format = find_save_format("compressed-tensors");
    check_output(folder, {}, saved_bytes(original, quantized, format) + result_bytes);
    save_checkpoint(original, quantized, folder, format);
    folder_ = folder;
    progress.note(fmt::format(
        "quantized; while the tweak runs, the model as it is now is in {}, from which `normtweak tweak` can go on",
        folder.string()));
  } catch (const std::exception& error) {  // whatever it is: the run itself is sound
    progress.note(
        fmt::format("no copy of the quantized model is kept while the tweak runs: {}", library_message(error)));
  }
}

void UntouchedCopy::remove() const {
  if (folder_.empty()) return;
  const TemporaryPath gone(staging_name(folder_));
  std::error_code ignored;
  fs::rename(folder_, gone.path(), ignored);  // at once, so that no half of it stays
}

}  // namespace normtweak::pipeline
