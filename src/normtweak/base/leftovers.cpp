#include "normtweak/base/leftovers.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "normtweak/base/unfinished.h"

namespace normtweak {
namespace fs = std::filesystem;
namespace {

fs::path folder_of(const fs::path& target) { return target.has_parent_path() ? target.parent_path() : fs::path("."); }

constexpr std::string_view kPartial = "partial", kReplaced = "replaced";  // endings of hidden names

std::string hidden(const fs::path& target, ::pid_t process, std::string_view ending) {
  return fmt::format(".{}.{}.{}", target.filename().string(), process, ending);
}

// The PID in `name` if it is a hidden name of `target` with this ending, otherwise nullopt.
std::optional<::pid_t> owner_of(const std::string& name, const fs::path& target, std::string_view ending) {
  const auto front = fmt::format(".{}.", target.filename().string());
  if (!name.starts_with(front)) return std::nullopt;
  ::pid_t process = 0;
  std::from_chars(name.data() + front.size(), name.data() + name.size(), process);
  return process > 0 && name == hidden(target, process, ending) ? std::optional(process) : std::nullopt;
}

// What has this process's own PID is from an earlier process, or claimed: in containers PIDs are often reused.
bool is_gone(::pid_t process) { return process == ::getpid() || (::kill(process, 0) != 0 && errno == ESRCH); }

// The entries beside `target` with this ending whose processes are gone.
std::vector<fs::path> left_beside(const fs::path& target, std::string_view ending) {
  std::error_code ignored;
  std::vector<fs::path> left;
  for (fs::directory_iterator entry(folder_of(target), ignored), end; entry != end; entry.increment(ignored)) {
    const auto owner = owner_of(entry->path().filename().string(), target, ending);
    if (owner && is_gone(*owner)) left.push_back(entry->path());
  }
  return left;
}

// NFS locks a file only if it is open for writing, and never a folder.
int open_to_lock(const fs::path& path) {
  const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  return file >= 0 ? file : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_DIRECTORY);
}

}  // namespace

fs::path staging_name(const fs::path& target) { return folder_of(target) / hidden(target, ::getpid(), kPartial); }

fs::path replaced_name(const fs::path& target) { return folder_of(target) / hidden(target, ::getpid(), kReplaced); }

Claim::Claim(const fs::path& path) : file_(open_to_lock(path)) {
  if (file_ < 0 || ::flock(file_, LOCK_EX | LOCK_NB) == 0) return;
  ::close(file_);
  file_ = -1;
}

Claim::~Claim() {
  if (file_ >= 0) ::close(file_);
}

void remove_leftovers(const fs::path& target) {
  for (const auto& path : left_beside(target, kPartial)) {
    if (const Claim claim(path); claim.is_held()) const Unfinished removed(path);
  }
  for (const auto& path : left_beside(target, kReplaced)) {
    const Claim claim(path);
    if (!claim.is_held()) continue;
    std::error_code ignored;
    if (fs::exists(fs::symlink_status(target, ignored))) {
      const Unfinished removed(path);
    } else {
      fs::rename(path, target, ignored);
    }
  }
}

}  // namespace normtweak
