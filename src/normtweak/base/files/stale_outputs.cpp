#include "normtweak/base/files/stale_outputs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/base/files/atomic_replace.h"
#include "normtweak/base/files/temporary_path.h"

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

// What has this process's own PID is from an earlier process, or locked: in containers PIDs are often reused.
bool is_gone(::pid_t process) { return process == ::getpid() || (::kill(process, 0) != 0 && errno == ESRCH); }

struct StaleOutput {
  fs::path path;
  ::pid_t process;
};

// The entries beside `target` with this ending.
std::vector<StaleOutput> left_beside(const fs::path& target, std::string_view ending) {
  std::error_code ignored;
  std::vector<StaleOutput> left;
  for (fs::directory_iterator entry(folder_of(target), ignored), end; entry != end; entry.increment(ignored)) {
    const auto owner = owner_of(entry->path().filename().string(), target, ending);
    if (owner) left.push_back({entry->path(), *owner});
  }
  return left;
}

bool has_name(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

// A folder's own time is not changed by renaming it: it tells when the result was written.
fs::file_time_type time_of(const fs::path& path) {
  std::error_code unknown;
  return fs::last_write_time(path, unknown);
}

// Whether `target` stays missing for longer than a living process takes from one rename to the next.
bool stays_missing(const fs::path& target) {
  constexpr std::chrono::milliseconds kPause{100};
  constexpr int kPauses = 20;
  for (int i = 0; i < kPauses; ++i) {
    if (has_name(target)) return false;
    std::this_thread::sleep_for(kPause);
  }
  return !has_name(target);
}

// NFS locks a file only if it is open for writing, and never a folder.
int open_to_lock(const fs::path& path) {
  const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  return file >= 0 ? file : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_DIRECTORY);
}

}  // namespace

fs::path staging_name(const fs::path& target) { return folder_of(target) / hidden(target, ::getpid(), kPartial); }

fs::path replaced_name(const fs::path& target) { return folder_of(target) / hidden(target, ::getpid(), kReplaced); }

std::string final_name(const fs::path& path) {
  const auto ending = fmt::format(".{}.{}", ::getpid(), kPartial);
  fs::path shown;
  for (const auto& part : path) {
    const auto name = part.string();
    const bool is_hidden = name.starts_with('.') && name.ends_with(ending) && name.size() > ending.size() + 1;
    shown /= is_hidden ? name.substr(1, name.size() - ending.size() - 1) : name;
  }
  return shown.string();
}

FileLock::FileLock(const fs::path& path) : file_(open_to_lock(path)) {
  if (file_ < 0 || ::flock(file_, LOCK_EX | LOCK_NB) == 0) return;
  is_of_other_ = errno == EWOULDBLOCK;
  ::close(file_);
  file_ = -1;
}

FileLock::~FileLock() {
  if (file_ >= 0) ::close(file_);
}

std::optional<fs::path> restore_replaced(const fs::path& target) {
  if (has_name(target)) return std::nullopt;
  auto left = left_beside(target, kReplaced);
  std::ranges::sort(left, std::ranges::greater(), [](const StaleOutput& one) { return time_of(one.path); });
  for (const auto& [path, process] : left) {
    const FileLock lock(path);
    if (lock.is_of_other()) return std::nullopt;  // a living process is about to give the name to what it made
    if (!lock.is_held() && !stays_missing(target)) return std::nullopt;
    const int error = rename_path(path, target, RENAME_NOREPLACE) == 0 ? 0 : rename_path(path, target, 0);
    if (error == 0) return path;
    if (has_name(target)) return std::nullopt;
    fail("{}: missing, since a run was killed while it replaced it; the older one is {} and cannot be renamed: {}",
         target.string(), path.string(), std::strerror(error));
  }
  return std::nullopt;
}

void remove_stale_outputs(const fs::path& target) {
  restore_replaced(target);
  for (const auto ending : {kPartial, kReplaced}) {
    for (const auto& [path, process] : left_beside(target, ending)) {
      if (!is_gone(process) || (ending == kReplaced && !has_name(target))) continue;
      if (const FileLock lock(path); lock.is_held()) const TemporaryPath removed(path);
    }
  }
}

}  // namespace normtweak
