#include "normtweak/base/files/temporary_path.h"

#include <algorithm>
#include <ranges>
#include <system_error>
#include <vector>

namespace normtweak {
namespace fs = std::filesystem;
namespace {

struct Registry {
  std::mutex mutex;
  std::vector<fs::path> paths;
};

// Never destroyed, since the signal thread may outlive static objects.
Registry& registry() {
  static auto* instance = new Registry;
  return *instance;
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
  remove_tree(path_);
  registry().paths.push_back(path_);
}

TemporaryPath::~TemporaryPath() {
  const std::lock_guard lock(registry().mutex);
  remove_tree(path_);
  auto& paths = registry().paths;
  paths.erase(std::ranges::find(paths, path_));
}

void remove_temporary_paths() {
  constexpr int kTries = 10;  // another thread may be adding files to a folder
  registry().mutex.lock();    // never unlocked
  for (const auto& path : registry().paths) {
    std::error_code ignored;
    for (int i = 0; i < kTries && fs::exists(fs::symlink_status(path, ignored)); ++i) remove_tree(path);
  }
}

std::unique_lock<std::mutex> lock_temporary_paths() { return std::unique_lock(registry().mutex); }

}  // namespace normtweak
