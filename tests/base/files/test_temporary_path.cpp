// TemporaryPath: what it owns goes with it, or when the process is told to end.
#include <sys/wait.h>

#include <chrono>
#include <memory>
#include <thread>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/base/files/temporary_path.h"
#include "support/temporary_folder.h"

namespace normtweak {
namespace {
namespace fs = std::filesystem;

class TemporaryPathTest : public tests::TemporaryFolder {
 protected:
  const fs::path path = folder() / "temporary";

  static void fill(const fs::path& tree) {
    fs::create_directories(tree / "inner");
    write(tree / "inner" / "file", "half");
    write(tree / "file", "half");
  }
};

TEST_F(TemporaryPathTest, FoldersThatItMadeGoUnlessSomethingIsInThem) {
  const auto outer = folder() / "one", deep = outer / "two" / "three";
  {
    const TemporaryPath file(deep / "temporary");
    write(file.path(), "half");
  }
  EXPECT_EQ(entries(), 0U);
  {
    const TemporaryPath file(deep / "temporary");
    write(outer / "other", "of somebody else");
  }
  EXPECT_FALSE(fs::exists(outer / "two"));
  {
    const TemporaryPath file(deep / "temporary");  // `outer` was there before
    fs::remove(outer / "other");
  }
  EXPECT_TRUE(fs::is_empty(outer));
  {
    const TemporaryPath file(deep / "temporary");
    write(file.path(), "whole");
    fs::rename(file.path(), deep / "file");
  }
  EXPECT_EQ(read_file(deep / "file"), "whole");
}

// Of several files in one new folder, the last one to go takes the folder with it.
TEST_F(TemporaryPathTest, FoldersStayWhileAnotherPathNeedsThem) {
  {
    auto first = std::make_unique<const TemporaryPath>(folder() / "new" / "first");
    const TemporaryPath second(folder() / "new" / "second");
    first.reset();
    write(second.path(), "half");
  }
  EXPECT_EQ(entries(), 0U);
}

TEST_F(TemporaryPathTest, NoFolderIsLeftWhereOneCannotBe) {
  write(folder() / "file", "in the way");
  const auto message = tests::message_of<Error>([&] { const TemporaryPath file(folder() / "file" / "one" / "two"); });
  EXPECT_NE(message.find("cannot create the folder"), std::string::npos) << message;
  EXPECT_EQ(entries(), 1U);
}

TEST_F(TemporaryPathTest, RemovesAFile) {
  {
    const TemporaryPath file(path);
    write(path, "half");
  }
  EXPECT_EQ(entries(), 0U);
}

TEST_F(TemporaryPathTest, RemovesAFolderAndWhatAnEarlierRunLeft) {
  fill(path);
  {
    const TemporaryPath tree(path);
    EXPECT_EQ(entries(), 0U);
    fill(path);
  }
  EXPECT_EQ(entries(), 0U);
}

TEST_F(TemporaryPathTest, KeepsWhatALinkPointsTo) {
  fill(folder() / "elsewhere");
  fs::create_directory_symlink(folder() / "elsewhere", path);
  { const TemporaryPath tree(path); }
  EXPECT_FALSE(fs::exists(fs::symlink_status(path)));
  EXPECT_EQ(read_file(folder() / "elsewhere" / "inner" / "file"), "half");
}

TEST_F(TemporaryPathTest, HasNothingToRemoveOnceRenamed) {
  {
    const TemporaryPath file(path);
    write(path, "whole");
    fs::rename(path, folder() / "final");
  }
  EXPECT_EQ(read_file(folder() / "final"), "whole");
}

// In a process of its own, because no temporary path may come or go afterwards.
TEST_F(TemporaryPathTest, AllAreRemovedAtOnce) {
  const auto child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const TemporaryPath tree(path), file(folder() / "another");
    fill(path);
    write(folder() / "another", "half");
    std::thread(remove_temporary_paths).join();
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(entries(), 0U);
}

TEST_F(TemporaryPathTest, WhatIsHeldIsRemovedLater) {
  const auto child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const TemporaryPath tree(path);
    fill(path);
    std::thread removal;
    {
      const auto held = lock_temporary_paths();
      removal = std::thread(remove_temporary_paths);
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      if (!fs::exists(path / "inner" / "file")) ::_exit(1);
    }
    removal.join();
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(entries(), 0U);
}

}  // namespace
}  // namespace normtweak
