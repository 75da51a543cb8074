// The room that a copy of what was quantized needs on the disk.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "normtweak/pipeline/untouched_copy.h"
#include "support/temporary_folder.h"

namespace normtweak::pipeline {
namespace {

namespace fs = std::filesystem;

constexpr CopySizes kSame = {.copy = 30, .result = 31, .becomes_result = true},
                    kOther = {.copy = 30, .result = 120, .becomes_result = false};

std::int64_t room_beside(const fs::path& output, OutputKind kind, const CopySizes& sizes) {
  return room_for_copy(untouched_place(output, kind), output, sizes);
}

using RoomForCopy = tests::TemporaryFolder;

TEST_F(RoomForCopy, CountsTheResultOnlyWhereBothAreWritten) {
  for (const auto kind : {OutputKind::folder, OutputKind::file}) {
    const auto output = folder() / (kind == OutputKind::file ? "out.gguf" : "out");
    EXPECT_EQ(room_beside(output, kind, kSame), 30);
    EXPECT_EQ(room_beside(output, kind, kOther), 150);
  }
}

TEST_F(RoomForCopy, CountsTheResultWhereTheCopyCannotBeMoved) {
  std::ofstream(folder() / "out.unfinished") << "of an earlier run";
  EXPECT_EQ(room_beside(folder() / "out", OutputKind::folder, kSame), 61);
  fs::create_directory(folder() / "elsewhere");
  fs::create_symlink("elsewhere/copy.untouched", folder() / "linked.untouched");
  EXPECT_EQ(room_beside(folder() / "linked", OutputKind::folder, kSame), 61);
}

TEST_F(RoomForCopy, LeavesOutAResultOnAnotherDisk) {
  const fs::path other = "/dev/shm";
  if (!fs::is_directory(other)) GTEST_SKIP() << "no second file system";
  fs::create_symlink(other / "normtweak.untouched", folder() / "out.untouched");
  EXPECT_EQ(room_beside(folder() / "out", OutputKind::folder, kOther), 30);
}

}  // namespace
}  // namespace normtweak::pipeline
