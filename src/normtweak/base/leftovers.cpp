#include "normtweak/base/leftovers.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <optional>
#include <system_error>
#include <vector>

#include "normtweak/base/unfinished.h"

namespace normtweak {
namespace fs = std::filesystem;
namespace {

fs::path folder_of(const fs::path& target) { return target.has_parent_path() ? target.parent_path() : fs::path("."); }

std::string staged(const fs::path& target, ::pid_t process) {
  return fmt::format(".{}.{}.partial", target.filename().string(), process);
}

// The process that gave `name` to what becomes `target`; nothing where it is another thing's name.
std::optional<::pid_t> owner_of(const std::string& name, const fs::path& target) {
  const auto front = fmt::format(".{}.", target.filename().string());
  if (!name.starts_with(front)) return std::nullopt;
  ::pid_t process = 0;
  std::from_chars(name.data() + front.size(), name.data() + name.size(), process);
  return process > 0 && name == staged(target, process) ? std::optional(process) : std::nullopt;
}

bool lives(::pid_t process) { return ::kill(process, 0) == 0 || errno != ESRCH; }

// A file is locked on NFS only where it is open for writing; a folder never is.
int open_to_lock(const fs::path& path) {
  const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  return file >= 0 ? file : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_DIRECTORY);
}

}  // namespace

fs::path staging_name(const fs::path& target) { return folder_of(target) / staged(target, ::getpid()); }

Claim::Claim(const fs::path& path) : file_(open_to_lock(path)) {
  if (file_ < 0 || ::flock(file_, LOCK_EX | LOCK_NB) == 0) return;
  ::close(file_);
  file_ = -1;
}

Claim::~Claim() {
  if (file_ >= 0) ::close(file_);
}

void remove_leftovers(const fs::path& target) {
  std::error_code ignored;
  std::vector<fs::path> left;
  for (fs::directory_iterator entry(folder_of(target), ignored), end; entry != end; entry.increment(ignored)) {
    const auto owner = owner_of(entry->path().filename().string(), target);
    if (owner && !lives(*owner)) left.push_back(entry->path());
  }
  for (const auto& path : left) {
    if (const Claim claim(path); claim.is_held()) const Unfinished removed(path);
  }
}

}  // namespace normtweak
