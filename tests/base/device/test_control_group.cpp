// Limits of memory that control groups set, in trees of files as the kernel shows them.
#include <limits>
#include <map>
#include <string>

#include "normtweak/base/device/control_group.h"
#include "support/temporary_folder.h"

namespace normtweak {
namespace {
namespace fs = std::filesystem;

constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
using Files = std::map<std::string, std::string>;  // name → content

struct Case {
  const char* name;
  Files files;
  std::int64_t limit, left;
};

const Case kCases[] = {
    {"none at all", {}, kMost, kMost},
    {"version 2: a group and those around it",
     {{"proc/self/cgroup", "0::/batch/job 7/step\n"},
      {"sys/fs/cgroup/batch/memory.max", "9000\n"},
      {"sys/fs/cgroup/batch/memory.current", "8500\n"},
      {"sys/fs/cgroup/batch/job 7/memory.max", "4000\n"},
      {"sys/fs/cgroup/batch/job 7/memory.current", "1000\n"},
      {"sys/fs/cgroup/batch/job 7/step/memory.max", "max\n"},
      {"sys/fs/cgroup/batch/job 7/step/memory.current", "900\n"},
      {"sys/fs/cgroup/other/memory.max", "10\n"}},
     4000,
     500},
    {"version 2: idle page cache is left",
     {{"proc/self/cgroup", "0::/job\n"},
      {"sys/fs/cgroup/job/memory.max", "4000\n"},
      {"sys/fs/cgroup/job/memory.current", "3900\n"},
      {"sys/fs/cgroup/job/memory.stat", "anon 700\nfile 3000\ninactive_anon 9\ninactive_file 2600\nactive_file 400\n"}},
     4000,
     2700},
    {"version 2 in a namespace: the mount is the group",
     {{"proc/self/cgroup", "0::/\n"}, {"sys/fs/cgroup/memory.max", "4000\n"}, {"sys/fs/cgroup/memory.current", "5\n"}},
     4000,
     3995},
    {"version 2, only the group itself mounted",
     {{"proc/self/cgroup", "0::/system.slice/container.scope\n"}, {"sys/fs/cgroup/memory.max", "4000\n"}},
     4000,
     4000},
    {"version 2, the process's group unknown", {{"sys/fs/cgroup/memory.max", "4000\n"}}, 4000, 4000},
    {"more is taken than the limit, which was lowered",
     {{"proc/self/cgroup", "0::/\n"},
      {"sys/fs/cgroup/memory.max", "4000\n"},
      {"sys/fs/cgroup/memory.current", "4100\n"}},
     4000,
     0},
    {"version 1 beside an empty version 2",
     {{"proc/self/cgroup", "12:pids:/other\n4:cpu,memory:/docker/a:b\n1:name=systemd:/memory\n0::/docker/a:b\nodd\n"},
      {"sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"},
      {"sys/fs/cgroup/memory/docker/a:b/memory.limit_in_bytes", "4000\n"},
      {"sys/fs/cgroup/memory/docker/a:b/memory.usage_in_bytes", "3900\n"},
      {"sys/fs/cgroup/memory/docker/a:b/memory.stat", "inactive_file 1\ntotal_inactive_file 2600\n"},
      {"sys/fs/cgroup/memory/other/memory.limit_in_bytes", "10\n"}},
     4000,
     2700},
};

using ControlGroupTest = tests::TemporaryFolder;

TEST_F(ControlGroupTest, TheLeastLimitHolds) {
  for (const auto& row : kCases) {
    SCOPED_TRACE(row.name);
    for (const auto& [name, content] : row.files) {
      fs::create_directories((folder() / name).parent_path());
      write(folder() / name, content);
    }
    const auto memory = group_memory(folder());
    EXPECT_EQ(memory.limit, row.limit);
    EXPECT_EQ(memory.left, row.left);
    for (const auto* top : {"proc", "sys"}) remove_tree(folder() / top);
  }
}

}  // namespace
}  // namespace normtweak
