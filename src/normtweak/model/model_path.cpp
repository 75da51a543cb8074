#include "normtweak/model/model_path.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <system_error>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/base/files/file_kind.h"
#include "normtweak/base/files/path_exists.h"
#include "normtweak/base/files/restore_along_path.h"
#include "normtweak/model/hub_cache.h"

namespace normtweak::model {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void refuse_file(const fs::path& path) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  refuse_mistaken({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, Expected::model, path.string());
  fail("{}: neither a folder in Hugging Face layout nor a .gguf file", path.string());
}

template <class Accepted>
std::vector<fs::path> entries(const fs::path& folder, const Accepted& accepted) {
  std::vector<fs::path> found;
  std::error_code unreadable;
  for (fs::directory_iterator entry(folder, unreadable), end; entry != end; entry.increment(unreadable)) {
    if (accepted(entry->path())) found.push_back(entry->path());
  }
  std::ranges::sort(found);
  return found;
}

// What may have been meant: GGUF files, or folders with a config.json. Those of the hub's cache lie in `snapshots`.
std::vector<fs::path> models_in(const fs::path& folder) {
  auto found = entries(folder, [](const fs::path& path) { return has_ending(path, ".gguf"); });
  for (const auto& parent : {folder, folder / "snapshots"}) {
    std::error_code unknown;
    const auto holds_model = [&](const fs::path& path) { return fs::exists(path / "config.json", unknown); };
    std::ranges::copy(entries(parent, holds_model), std::back_inserter(found));
  }
  return found;
}

}  // namespace

ModelPath find_model(const std::string& model) {
  if (model.empty()) fail("the name of the model is empty; name a folder, a .gguf file or a hub model");
  const auto note = restore_and_tell(model).value_or("");
  if (path_exists(model)) {
    if (!fs::is_directory(model) && !has_ending(model, ".gguf")) refuse_file(model);
    return {model, note};
  }
  if (!is_hub_id(model)) fail("{}: no such file or folder; name a folder, a .gguf file or a hub model", model);
  if (const auto cached = find_in_hub_cache(model)) return {*cached, ""};
  fail("{}: no such file or folder, and no hub model of that name in {}; for a hub model run `hf download {}` first",
       model, hub_cache().string(), model);
}

void refuse_folder(const fs::path& folder) {
  const auto models = models_in(folder);
  if (models.empty()) {
    fail("{}: no config.json; a folder in Hugging Face layout or a .gguf file is needed", folder.string());
  }
  fail("{}: no config.json, but {}; name that{}", folder.string(), models.front().lexically_relative(folder).string(),
       models.size() > 1 ? fmt::format(", or one of {} more in it", models.size() - 1) : "");
}

}  // namespace normtweak::model
