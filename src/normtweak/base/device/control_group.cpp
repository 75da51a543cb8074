#include "normtweak/base/device/control_group.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

namespace normtweak {
namespace fs = std::filesystem;
namespace {

// The mount point of a version, and the names of its files.
struct Version {
  const char *mount, *limit, *used, *idle_cache;
};
constexpr Version kFirst = {
    .mount = "sys/fs/cgroup/memory",
    .limit = "memory.limit_in_bytes",
    .used = "memory.usage_in_bytes",
    .idle_cache = "total_inactive_file",  // the name without "total_" excludes nested groups
};
constexpr Version kSecond = {
    .mount = "sys/fs/cgroup",
    .limit = "memory.max",
    .used = "memory.current",
    .idle_cache = "inactive_file",
};

// nullopt if there is no such file, or no limit ("max").
std::optional<std::int64_t> number_in(const fs::path& file) {
  std::ifstream stream(file);
  std::int64_t number = 0;
  return stream >> number ? std::optional(number) : std::nullopt;
}

// The number beside `name` in a file of lines "NAME NUMBER"; 0 if there is none.
std::int64_t number_under(std::string_view name, const fs::path& file) {
  std::ifstream stream(file);
  std::string found;
  for (std::int64_t number = 0; stream >> found >> number;) {
    if (found == name) return number;
  }
  return 0;
}

void heed(const fs::path& group, const Version& version, GroupMemory& memory) {
  const auto limit = number_in(group / version.limit);
  if (!limit) return;
  const auto idle = number_under(version.idle_cache, group / "memory.stat");
  const auto taken = std::max<std::int64_t>(0, number_in(group / version.used).value_or(0) - idle);
  memory.limit = std::min(memory.limit, *limit);
  memory.left = std::min(memory.left, std::max<std::int64_t>(0, *limit - taken));
}

// From the outermost group to that of the process. In many containers only the process's own group is mounted, while
// `path` is its path on the host: that does not exist here, and the mount point itself is the group.
void heed_all(const fs::path& root, const fs::path& path, const Version& version, GroupMemory& memory) {
  auto group = root / version.mount;
  heed(group, version, memory);
  for (const auto& name : path.relative_path()) heed(group /= name, version, memory);
}

}  // namespace

GroupMemory group_memory(const fs::path& root) {
  GroupMemory memory;
  heed_all(root, "/", kSecond, memory);  // even where the process's own group cannot be read
  std::ifstream groups(root / "proc" / "self" / "cgroup");
  // "NUMBER:CONTROLLER,CONTROLLER,...:PATH"; version 2 has number 0 and an empty list of controllers
  for (std::string line; std::getline(groups, line);) {
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const auto controllers = fmt::format(",{},", line.substr(first + 1, second - first - 1));
    const auto path = line.substr(second + 1);
    if (line.starts_with("0::")) heed_all(root, path, kSecond, memory);
    if (controllers.find(",memory,") != std::string::npos) heed_all(root, path, kFirst, memory);
  }
  return memory;
}

}  // namespace normtweak
