#include "normtweak/base/files/writable.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "normtweak/base/device/memory.h"
#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/base/files/restore_along_path.h"
#include "normtweak/base/files/stale_outputs.h"

namespace normtweak {
namespace fs = std::filesystem;
namespace {

fs::path nearest_existing(fs::path path) {
  std::error_code ignored;
  while (!fs::exists(path, ignored) && path.has_relative_path()) path = path.parent_path();
  return path;
}

void check_parent(const fs::path& full, const fs::path& target) {
  if (staging_name(full).filename().native().size() > NAME_MAX) {
    fail("{}: the name is too long to be written; name another output", target.string());
  }
  const auto folder = nearest_existing(full.parent_path());
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) {
    fail("{}: cannot be written, because {} is not a folder; name another output", target.string(), folder.string());
  }
  if (::access(folder.c_str(), W_OK | X_OK) != 0) {
    fail("{}: cannot be written in {}: {}; name another output", target.string(), folder.string(),
         std::strerror(errno));
  }
}

// A mount point is on a different device from its parent folder.
bool is_mount_point(const fs::path& folder) {
  struct stat here = {}, above = {};
  return ::stat(folder.c_str(), &here) == 0 && ::stat(folder.parent_path().c_str(), &above) == 0 &&
         here.st_dev != above.st_dev;
}

}  // namespace

void check_file_target(const fs::path& target) {
  restore_along_path(target);
  const auto full = resolve_output(target);
  std::error_code ignored;
  if (fs::is_directory(full, ignored)) fail("{}: is a folder; name a file to write", target.string());
  if (fs::exists(target, ignored) && !fs::is_regular_file(target, ignored)) {
    fail("{}: is not a regular file, and would be replaced by one; name another output", target.string());
  }
  check_parent(full, target);
}

void check_folder_target(const fs::path& target) {
  restore_along_path(target);
  const auto full = resolve_output(target);
  std::error_code ignored;
  const bool exists = fs::exists(full, ignored);
  if (exists && !fs::is_directory(full, ignored)) {
    fail("{}: exists and is not a folder; name another output", target.string());
  }
  check_parent(full, target);
  if (exists && is_mount_point(full)) {
    fail("{}: is a mount point, which cannot be replaced; name a folder in it", target.string());
  }
}

bool lies_in(const fs::path& folder, const fs::path& path) {
  return std::ranges::mismatch(folder, path).in1 == folder.end();
}

bool on_one_disk(const fs::path& target, const fs::path& other) {
  struct stat one = {}, two = {};
  return ::stat(nearest_existing(resolve_output(target)).c_str(), &one) != 0 ||
         ::stat(nearest_existing(resolve_output(other)).c_str(), &two) != 0 || one.st_dev == two.st_dev;
}

void check_room(const fs::path& target, std::int64_t bytes) {
  const auto full = resolve_output(target);
  remove_stale_outputs(full);
  std::error_code unknown;
  const auto free = fs::space(nearest_existing(full), unknown).available;
  if (unknown || bytes <= 0 || static_cast<std::uintmax_t>(bytes) <= free) return;
  fail("{}: the result takes about {} and the disk has {} left; make room or name another output", target.string(),
       bytes_text(bytes), bytes_text(static_cast<std::int64_t>(free)));
}

}  // namespace normtweak
