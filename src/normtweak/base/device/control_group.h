// Memory limits set by the control groups (cgroups) of this process: those of containers, batch systems and services.
#pragma once
#include <cstdint>
#include <filesystem>
#include <limits>

namespace normtweak {

struct GroupMemory {
  std::int64_t limit = std::numeric_limits<std::int64_t>::max();  // bytes
  std::int64_t left = std::numeric_limits<std::int64_t>::max();   // bytes of it that are still free
};

// The minimum over this process's group and all enclosing groups, of versions 1 and 2. Without limits, the defaults.
// Inactive page cache counts as free, since the system reclaims it first: reading a checkpoint through a memory map
// fills the group with it. root: the folder that contains `proc` and `sys`.
GroupMemory group_memory(const std::filesystem::path& root = "/");

}  // namespace normtweak
