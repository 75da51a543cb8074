// Files and folders under temporary names: nothing half-written stays behind, whichever way a run ends short of
// SIGKILL.
#pragma once
#include <filesystem>
#include <mutex>

namespace normtweak {

// Owns a file or a folder that is not yet what it is to become; a folder with all that is in it. Neither copied nor
// moved.
class Unfinished {
 public:
  explicit Unfinished(std::filesystem::path path);  // removes what an earlier run left under that name
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;
  ~Unfinished();  // removes what is there; after a rename, nothing is

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Removes what all Unfinished objects own. Called, from a thread of its own, when a signal ends the process, which must
// follow at once: an object that comes or goes after this waits for the end.
void remove_unfinished();

// As long as the result lives, remove_unfinished() waits: for steps of this thread that the end of the process should
// not come between. No Unfinished object may come or go in them.
[[nodiscard]] std::unique_lock<std::mutex> hold_unfinished();

}  // namespace normtweak
