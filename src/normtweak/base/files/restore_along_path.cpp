#include "normtweak/base/files/restore_along_path.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>
#include <vector>

#include "normtweak/base/files/stale_outputs.h"

namespace normtweak {
namespace fs = std::filesystem;

// Goes along the path as the system does: `..` after a link is relative to the link's target.
std::optional<fs::path> restore_along_path(const fs::path& path) {
  constexpr int kMostLinks = 40;  // Linux's own limit
  std::error_code unknown;
  const auto full = fs::absolute(path, unknown);
  if (path.empty() || unknown) return std::nullopt;
  std::optional<fs::path> found;
  std::vector<fs::path> rest(full.begin(), full.end());
  std::ranges::reverse(rest);
  fs::path place;
  for (int links = 0; !rest.empty();) {
    const auto name = rest.back();
    if (name.empty() || name == ".") {
      rest.pop_back();
      continue;
    }
    const auto next = name == ".." ? place.parent_path() : place / name;
    const auto status = fs::symlink_status(next, unknown);
    if (fs::is_symlink(status)) {
      if (++links > kMostLinks) return found;
      rest.pop_back();
      const auto target = fs::read_symlink(next, unknown);
      for (auto part = target.end(); part != target.begin();) rest.push_back(*--part);
    } else if (fs::exists(status)) {
      rest.pop_back();
      place = next;
    } else {
      const auto hidden = restore_replaced(next);
      if (!hidden) return found;
      found = hidden;
    }
  }
  return found;
}

std::optional<std::string> restore_and_tell(const fs::path& path) {
  const auto hidden = restore_along_path(path);
  if (!hidden) return std::nullopt;
  return fmt::format(
      "{}: a run was killed while it replaced this folder; the older one, which it had set aside as {}, is back",
      path.string(), hidden->string());
}

}  // namespace normtweak
