#include "normtweak/base/files/atomic_replace.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/base/files/stale_outputs.h"
#include "normtweak/base/files/temporary_path.h"

namespace normtweak {
namespace fs = std::filesystem;
namespace {

// The errors with which file systems and kernels reject unknown flags.
bool is_not_supported(int error) { return error == EINVAL || error == ENOSYS || error == EOPNOTSUPP; }

[[noreturn]] void fail_to_place(const fs::path& target, int error, const std::string& more = "") {
  fail("{}: cannot put the finished folder in place: {}{}", target.string(), std::strerror(error), more);
}

// Gives the older folder its name back however this scope is left, unless the new one has taken the name.
class SetAside {
 public:
  SetAside(const fs::path& aside, const fs::path& target, const Rename& rename)
      : aside_(aside), target_(target), rename_(rename) {}
  SetAside(const SetAside&) = delete;
  SetAside& operator=(const SetAside&) = delete;
  ~SetAside() {
    try {
      restore();
    } catch (...) {  // the next run to name `target` puts it back
    }
  }

  // Whether the older one, or what another process put there, has the name.
  bool restore() {
    if (std::exchange(is_back_, true)) return true;
    std::error_code ignored;
    return rename_(aside_, target_, 0) == 0 || fs::exists(fs::symlink_status(target_, ignored));
  }
  void has_successor() { is_back_ = true; }

 private:
  const fs::path &aside_, &target_;
  const Rename& rename_;
  bool is_back_ = false;
};

// A run that is killed between the steps leaves no `target`; restore_replaced() then renames the older one back.
void exchange_in_steps(const fs::path& finished, const fs::path& target, const Rename& rename) {
  const auto aside = replaced_name(target);
  { const TemporaryPath stale(aside); }  // from an earlier process with the same PID
  const FileLock lock(target);           // stays on the older folder when that is renamed
  const auto held = lock_temporary_paths();
  if (const int error = rename(target, aside, 0); error != 0) fail_to_place(target, error);
  SetAside older(aside, target, rename);
  if (const int error = rename(finished, target, 0); error != 0) {
    fail_to_place(target, error, older.restore() ? "" : "; the older one is now " + aside.string());
  }
  older.has_successor();
  rename(aside, finished, 0);  // if this fails, the next run to `target` removes it
}

}  // namespace

int rename_path(const fs::path& from, const fs::path& to, unsigned int flags) {
  return ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0 ? 0 : errno;
}

void atomic_replace(const fs::path& finished, const fs::path& target, const Rename& rename) {
  std::error_code none;
  const bool replaces = fs::exists(target, none);
  // A signal's clean-up must not be half done with `finished` when that becomes `target`.
  const auto place = [&](unsigned int flags) {
    const auto held = lock_temporary_paths();
    return rename(finished, target, flags);
  };
  int error = place(replaces ? RENAME_EXCHANGE : RENAME_NOREPLACE);
  if (is_not_supported(error)) {
    if (replaces) return exchange_in_steps(finished, target, rename);
    error = place(0);
  }
  if (error != 0) fail_to_place(target, error);
}

}  // namespace normtweak
