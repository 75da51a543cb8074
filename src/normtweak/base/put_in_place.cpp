#include "normtweak/base/put_in_place.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "normtweak/base/error.h"
#include "normtweak/base/leftovers.h"
#include "normtweak/base/unfinished.h"

namespace normtweak {
namespace fs = std::filesystem;
namespace {

// The errors with which file systems and kernels reject unknown flags.
bool is_not_supported(int error) { return error == EINVAL || error == ENOSYS || error == EOPNOTSUPP; }

[[noreturn]] void fail_to_place(const fs::path& target, int error, const std::string& more = "") {
  fail("{}: cannot put the finished folder in place: {}{}", target.string(), std::strerror(error), more);
}

// A run that is killed between the steps leaves no `target`; where folders can be locked, remove_leftovers() then
// renames the older one back.
void exchange_in_steps(const fs::path& finished, const fs::path& target, const Rename& rename) {
  const auto aside = replaced_name(target);
  { const Unfinished stale(aside); }  // from an earlier process with the same PID
  const Claim claim(target);          // stays on the older folder when that is renamed
  const auto held = hold_unfinished();
  if (const int error = rename(target, aside, 0); error != 0) fail_to_place(target, error);
  if (const int error = rename(finished, target, 0); error != 0) {
    const bool is_back = rename(aside, target, 0) == 0;
    fail_to_place(target, error, is_back ? "" : "; the older one is now " + aside.string());
  }
  rename(aside, finished, 0);  // if this fails, the next run to `target` removes it
}

}  // namespace

int rename_path(const fs::path& from, const fs::path& to, unsigned int flags) {
  return ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0 ? 0 : errno;
}

void put_in_place(const fs::path& finished, const fs::path& target, const Rename& rename) {
  const bool replaces = fs::exists(target);
  // A signal's clean-up must not be half done with `finished` when that becomes `target`.
  const auto place = [&](unsigned int flags) {
    const auto held = hold_unfinished();
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
