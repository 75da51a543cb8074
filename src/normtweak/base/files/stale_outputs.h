// Temporary names of outputs, and what runs killed by SIGKILL left under such names.
#pragma once
#include <filesystem>
#include <optional>
#include <string>

namespace normtweak {

// ".OUT.PID.partial" beside OUT: a name that no other process on this machine uses.
std::filesystem::path staging_name(const std::filesystem::path& target);

// ".OUT.PID.replaced": the same for an older OUT while it is being replaced.
std::filesystem::path replaced_name(const std::filesystem::path& target);

// `path` as the user knows it, for messages: without this process's temporary names.
std::string final_name(const std::filesystem::path& path);

// While it exists, tells other processes that an existing file or folder is still being written. It is a file lock,
// which the system releases however the process ends. On file systems without locks it has no effect.
class FileLock {
 public:
  explicit FileLock(const std::filesystem::path& path);
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock();
  bool is_held() const { return file_ >= 0; }
  bool is_of_other() const { return is_of_other_; }  // another process holds it

 private:
  int file_;
  bool is_of_other_ = false;
};

// If there is no `target` because a process was killed while it replaced the folder: renames the older one back, the
// newest if several were set aside, and returns the hidden name that it had; otherwise nullopt. Where nobody can tell
// by a FileLock that such a process still lives, `target` must stay missing for two seconds. Throws Error naming both
// if the folder cannot be renamed.
std::optional<std::filesystem::path> restore_replaced(const std::filesystem::path& target);

// restore_replaced(), then removes what dead processes left beside `target`. A stale output is removed only if no other
// process on this machine has the PID in its name and nobody holds a FileLock on it. The lock also covers processes in
// other containers and, if the file system supports locks, on other machines. In doubt it stays.
void remove_stale_outputs(const std::filesystem::path& target);

}  // namespace normtweak
