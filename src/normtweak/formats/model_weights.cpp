#include "normtweak/formats/model_weights.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <system_error>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file_kind.h"
#include "normtweak/base/files/path_exists.h"
#include "normtweak/base/strings/wording.h"
#include "normtweak/formats/pytorch_source.h"
#include "normtweak/formats/safetensors.h"
#include "normtweak/formats/sharded.h"

namespace normtweak::formats {
namespace fs = std::filesystem;
namespace {

std::string in_parts(std::string_view name) {
  return fmt::format(", but {}, one of several files whose index is missing; complete the download", name);
}

// Weights under other names, and what to do with them.
std::string what_is_there(const fs::path& folder) {
  std::error_code unreadable;
  for (fs::directory_iterator entry(folder, unreadable), end; entry != end; entry.increment(unreadable)) {
    const auto name = entry->path().filename().string();
    const auto ending = entry->path().extension();
    if (is_named_as_pytorch(name)) {
      if (name.find("-of-") != std::string::npos) return in_parts(name);
      return fmt::format(", but {}; if these are its weights, call it pytorch_model.bin", name);
    }
    if (has_ending(name, ".gguf")) return fmt::format(", but {}; name that file", entry->path().string());
    if (ending != ".safetensors") continue;
    if (name.find("-of-") == std::string::npos) return fmt::format(", but {}; call it model.safetensors", name);
    return in_parts(name);
  }
  return "";
}

std::unique_ptr<TensorSource> open_pytorch(const fs::path& path, std::vector<std::string>* notes) {
  auto file = std::make_unique<PytorchFile>(path);
  const auto note = note_of_others(path.string(), file->not_tensors());
  if (notes != nullptr && !note.empty()) notes->push_back(note);
  return file;
}

}  // namespace

std::unique_ptr<TensorSource> open_weights(const fs::path& folder, std::vector<std::string>* notes) {
  const OpenShard safetensors = [](const fs::path& path) { return std::make_unique<SafetensorsFile>(path); };
  const OpenShard pytorch = [notes](const fs::path& path) { return open_pytorch(path, notes); };
  if (!path_exists(folder)) fail("{}: no such folder", folder.string());
  for (const auto& [name, open] :
       {std::pair("model.safetensors", safetensors), std::pair("pytorch_model.bin", pytorch)}) {
    if (const auto whole = folder / name; path_exists(whole)) return open(whole);
    const auto index = folder / fmt::format("{}.index.json", name);
    if (path_exists(index)) return open_sharded(index, open);
  }
  fail("{}: holds neither model.safetensors nor pytorch_model.bin, nor an index of several{}", folder.string(),
       what_is_there(folder));
}

bool is_named_as_pytorch(const fs::path& path) {
  constexpr std::array<std::string_view, 3> kEndings = {".bin", ".pt", ".pth"};
  return std::ranges::any_of(kEndings, [&](std::string_view ending) { return has_ending(path, ending); });
}

std::string note_of_others(const std::string& file, const std::vector<std::string>& not_tensors) {
  if (not_tensors.empty()) return {};
  const auto others = not_tensors.size() - 1;
  return fmt::format("{}: `{}`{} no tensor{}; ignored", file, not_tensors.front(),
                     others > 0 ? fmt::format(" and {} more are", others) : " is", others > 0 ? "s" : "");
}

}  // namespace normtweak::formats
