// How much memory the control groups of this process leave it: those of containers, batch systems and services.
#pragma once
#include <cstdint>
#include <filesystem>
#include <limits>

namespace normtweak {

struct GroupMemory {
  std::int64_t limit = std::numeric_limits<std::int64_t>::max();  // bytes that the group may hold
  std::int64_t left = std::numeric_limits<std::int64_t>::max();   // bytes of these that it can still take
};

// The least of this process's group and all groups around it, of version 1 and 2; without limits, as by default.
// Page cache that has not been used lately counts as left, for the system gives it back first: a checkpoint that is
// read through a memory map fills a group with it. root: the folder that holds `proc` and `sys`.
GroupMemory group_memory(const std::filesystem::path& root = "/");

}  // namespace normtweak
