// The temporary names of outputs, and what runs that SIGKILL ended have left under them.
#pragma once
#include <filesystem>

namespace normtweak {

// ".OUT.PID.partial" beside OUT: a name that no other process of this machine takes.
std::filesystem::path staging_name(const std::filesystem::path& target);

// ".OUT.PID.replaced": the same for an older OUT, while it makes room for the new one.
std::filesystem::path replaced_name(const std::filesystem::path& target);

// Tells other processes, as long as it lives, that a file or folder that exists is still being written: a lock, which
// the system takes back from a process that ends in whatever way. Where locks cannot be had, nothing is told.
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

// Removes what was left beside `target` by processes that are gone. Two things have to say so: no process here has the
// number in the name, and nobody has a claim. The second knows of processes in other containers and, where the file
// system has locks, on other machines. In doubt it stays. Where such a process had replaced `target` only by half, so
// that there is none, the older one is put back.
void remove_leftovers(const std::filesystem::path& target);

}  // namespace normtweak
