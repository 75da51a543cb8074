// Temporary names of outputs, and removal of what runs killed by SIGKILL left under such names.
#pragma once
#include <filesystem>

namespace normtweak {

// ".OUT.PID.partial" beside OUT: a name that no other process on this machine uses.
std::filesystem::path staging_name(const std::filesystem::path& target);

// ".OUT.PID.replaced": the same for an older OUT while it is being replaced.
std::filesystem::path replaced_name(const std::filesystem::path& target);

// While it exists, tells other processes that an existing file or folder is still being written. It is a file lock,
// which the system releases however the process ends. On file systems without locks it has no effect.
class Claim {
 public:
  explicit Claim(const std::filesystem::path& path);
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;
  ~Claim();
  bool is_held() const { return file_ >= 0; }

 private:
  int file_;
};

// Removes what dead processes left beside `target`. A leftover is removed only if no other process on this machine
// has the PID in its name and nobody holds a Claim on it. The claim also covers processes in other containers and, if
// the file system supports locks, on other machines. In doubt it stays. If such a process was killed while it replaced
// `target`, so that no `target` exists, the older folder is renamed back.
void remove_leftovers(const std::filesystem::path& target);

}  // namespace normtweak
