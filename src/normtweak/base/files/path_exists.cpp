#include "normtweak/base/files/path_exists.h"

#include <system_error>

#include "normtweak/base/error.h"

namespace normtweak {
namespace fs = std::filesystem;

void refuse_dangling_link(const fs::path& path) {
  std::error_code unknown;
  if (!fs::is_symlink(fs::symlink_status(path, unknown)) || fs::exists(path, unknown)) return;
  if (unknown == std::errc::too_many_symbolic_link_levels) {
    fail("{}: is a link that leads back to itself; put the file in its place", path.string());
  }
  const auto target = fs::read_symlink(path, unknown);
  fail("{}: is a link to {}, which is missing; download or copy the file again", path.string(), target.string());
}

bool path_exists(const fs::path& path) {
  refuse_dangling_link(path);
  std::error_code error;
  const auto status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found || error == std::errc::filename_too_long) return false;
  if (error) fail("{}: cannot be looked at: {}", path.string(), error.message());
  return true;
}

}  // namespace normtweak
