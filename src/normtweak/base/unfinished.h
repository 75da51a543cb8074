// Files and folders under temporary names, removed however a run ends, except by SIGKILL.
#pragma once
#include <filesystem>
#include <mutex>

namespace normtweak {

// Removes a file, or a folder with its contents; what cannot be removed stays. Not std::filesystem::remove_all: the
// CUDA build of LibTorch exports a copy of that function built by another compiler, which is linked first and crashes
// on a non-empty folder.
void remove_tree(const std::filesystem::path& path);

// Owns a temporary file, or a folder with its contents, until it is renamed to its final name. Neither copyable nor
// movable.
class Unfinished {
 public:
  explicit Unfinished(std::filesystem::path path);  // removes what an earlier run left at this path
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;
  ~Unfinished();  // removes what is at the path; after a rename nothing is

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Removes what all Unfinished objects own. Called from a dedicated thread when a signal ends the process. The process
// must then end at once: constructors and destructors of Unfinished block from here on.
void remove_unfinished();

// While the returned lock exists, remove_unfinished() waits, so that the end of the process does not interrupt a
// sequence of steps of this thread. The thread must not construct or destroy Unfinished objects meanwhile.
[[nodiscard]] std::unique_lock<std::mutex> hold_unfinished();

}  // namespace normtweak
