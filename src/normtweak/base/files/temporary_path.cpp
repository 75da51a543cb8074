#include "normtweak/base/files/temporary_path.h"

#include <algorithm>
#include <ranges>
#include <system_error>
#include <utility>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/base/files/stale_outputs.h"
#include "normtweak/base/files/writable.h"

namespace normtweak {
namespace fs = std::filesystem;
namespace {

struct Registry {
  std::mutex mutex;
  std::vector<fs::path> paths;
  std::vector<fs::path> made;  // folders that were missing on the way to them, each before those in it
};

// Never destroyed, since the signal thread may outlive static objects.
Registry& registry() {
  static auto* instance = new Registry;
  return *instance;
}

// The folder with its parents, as far as they are missing.
std::error_code make_folder(const fs::path& folder, Registry& all) {
  std::error_code error;
  if (folder.empty() || fs::exists(folder, error)) return {};
  if (folder.has_relative_path()) error = make_folder(folder.parent_path(), all);
  if (!error && fs::create_directory(folder, error)) all.made.push_back(folder);
  return error;
}

// Those that were made for paths of which none is left: they go if nothing is in them, and stay for good otherwise.
void remove_unused(Registry& all) {
  const auto made = std::exchange(all.made, {});
  for (const auto& folder : made) {
    if (std::ranges::any_of(all.paths, [&](const auto& path) { return lies_in(folder, path); }))
      all.made.push_back(folder);
  }
  std::error_code ignored;
  for (const auto& folder : std::views::reverse(made)) {
    if (std::ranges::find(all.made, folder) == all.made.end()) fs::remove(folder, ignored);
  }
}

}  // namespace

void remove_tree(const fs::path& path) {
  std::error_code ignored;
  std::vector<fs::path> found;
  if (fs::is_directory(fs::symlink_status(path, ignored))) {
    for (auto entry = fs::recursive_directory_iterator(path, ignored); entry != fs::recursive_directory_iterator();
         entry.increment(ignored)) {
      found.push_back(entry->path());
    }
  }
  for (const auto& inner : std::views::reverse(found)) fs::remove(inner, ignored);  // contents first
  fs::remove(path, ignored);
}

TemporaryPath::TemporaryPath(fs::path path) : path_(std::move(path)) {
  const std::lock_guard lock(registry().mutex);
  const auto error = make_folder(path_.parent_path(), registry());
  if (error) {
    remove_unused(registry());
    fail("{}: cannot create the folder: {}", final_name(path_.parent_path()), error.message());
  }
  remove_tree(path_);
  registry().paths.push_back(path_);
}

TemporaryPath::~TemporaryPath() {
  const std::lock_guard lock(registry().mutex);
  remove_tree(path_);
  auto& paths = registry().paths;
  paths.erase(std::ranges::find(paths, path_));
  remove_unused(registry());
}

void remove_temporary_paths() {
  constexpr int kTries = 10;  // another thread may be adding files to a folder
  registry().mutex.lock();    // never unlocked
  for (const auto& path : registry().paths) {
    std::error_code ignored;
    for (int i = 0; i < kTries && fs::exists(fs::symlink_status(path, ignored)); ++i) remove_tree(path);
  }
  registry().paths.clear();
  remove_unused(registry());
}

std::unique_lock<std::mutex> lock_temporary_paths() { return std::unique_lock(registry().mutex); }

}  // namespace normtweak
