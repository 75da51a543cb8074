#include "normtweak/cli/named_files.h"

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/base/files/restore_along_path.h"
#include "normtweak/base/files/writable.h"
#include "normtweak/cli/job.h"
#include "normtweak/cli/progress_bar.h"
#include "normtweak/model/checkpoint.h"

namespace normtweak::cli {
namespace fs = std::filesystem;
namespace {

// Whether writing `output` would overwrite `input`, or a file of the model `input`.
bool would_change(const fs::path& output, const fs::path& input) {
  const auto place = resolve_output(output), read = fs::weakly_canonical(input);
  std::error_code missing;
  if (place == read || fs::equivalent(place, read, missing)) return true;
  const auto name = place.filename().string();
  const bool is_weights = (name.starts_with("model") && name.find(".safetensors") != std::string::npos) ||
                          (name.starts_with("pytorch_model") && name.find(".bin") != std::string::npos);
  const bool is_of_model = is_weights || name == "config.json" || model::is_side_file(name);
  return is_of_model && place.parent_path() == read;
}

}  // namespace

void check_apart(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs) {
  for (auto output = outputs.begin(); output != outputs.end(); ++output) {
    if (output->path.empty()) continue;
    for (const auto& input : inputs) {
      if (input.path.empty() || !would_change(output->path, input.path)) continue;
      fail_usage("{} {}: would overwrite {} {}; name another file", output->option, output->path.string(), input.option,
                 input.path.string());
    }
    for (auto other = outputs.begin(); other != output; ++other) {
      if (other->path.empty() || !lies_in(resolve_output(other->path), resolve_output(output->path))) continue;
      fail_usage("{} {}: is, or lies in, what {} writes; name another file", output->option, output->path.string(),
                 other->option);
    }
  }
}

void restore_named(const CLI::App& command) {
  const bool quiet = command.get_option("--quiet")->count() > 0 || !is_first_process();
  for (const auto* option : command.get_options()) {
    if (!option->nonpositional()) continue;
    for (const auto& value : option->results()) {
      const auto note = restore_and_tell(value);
      if (note && !quiet) ProgressBar().note(*note);
    }
  }
}

}  // namespace normtweak::cli
