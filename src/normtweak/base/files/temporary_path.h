// Files and folders under temporary names, removed however a run ends, except by SIGKILL.
#pragma once
#include <filesystem>
#include <mutex>

namespace normtweak {

// Removes a file, or a folder with its contents; what cannot be removed stays. Not std::filesystem::remove_all: the
// CUDA build of LibTorch exports a copy of that function built by another compiler, which is linked first and crashes
// on a non-empty folder.
void remove_tree(const std::filesystem::path& path);

// Owns a temporary file, or a folder with its contents, until it is renamed to its final name. Folders that are missing
// on the way to it are made; when no such object needs them any more, those with nothing in them go again. Neither
// copyable nor movable.
class TemporaryPath {
 public:
  // Removes what an earlier run left at this path. Throws Error if a folder cannot be made.
  explicit TemporaryPath(std::filesystem::path path);
  TemporaryPath(const TemporaryPath&) = delete;
  TemporaryPath& operator=(const TemporaryPath&) = delete;
  ~TemporaryPath();  // removes what is at the path; after a rename nothing is

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Removes what all TemporaryPath objects own, and folders that they made. Called from a dedicated thread when a signal
// ends the process. The process must then end at once: constructors and destructors of TemporaryPath block from here
// on.
void remove_temporary_paths();

// While the returned lock exists, remove_temporary_paths() waits, so that the end of the process does not interrupt a
// sequence of steps of this thread. The thread must not construct or destroy TemporaryPath objects meanwhile.
[[nodiscard]] std::unique_lock<std::mutex> lock_temporary_paths();

}  // namespace normtweak
