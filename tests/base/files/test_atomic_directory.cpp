// AtomicDirectory: whatever happens, the target is the old folder or the new one, never a mixture.
#include <sys/wait.h>

#include <csignal>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "support/temporary_folder.h"

namespace normtweak {
namespace {
namespace fs = std::filesystem;
using tests::message_of;

class AtomicDirectoryTest : public tests::TemporaryFolder {
 protected:
  const fs::path target = folder() / "checkpoint";

  // An older checkpoint with a file that the new one will not have.
  void make_old() const {
    fs::create_directory(target);
    write(target / "config.json", "old");
    write(target / "shard-2", "old");
  }
};

TEST_F(AtomicDirectoryTest, AppearsOnCommit) {
  {
    AtomicDirectory output(target);
    write(output.path() / "config.json", "new");
    fs::create_directory(output.path() / "inner");
    write(output.path() / "inner" / "weights", "new");
    EXPECT_FALSE(fs::exists(target));
    output.commit();
  }
  EXPECT_EQ(read_file(target / "config.json"), "new");
  EXPECT_EQ(read_file(target / "inner" / "weights"), "new");
  EXPECT_EQ(entries(), 1U);
}

TEST_F(AtomicDirectoryTest, ReplacesAnOlderOneAsAWhole) {
  make_old();
  {
    AtomicDirectory output(target);
    write(output.path() / "config.json", "new");
    EXPECT_EQ(read_file(target / "config.json"), "old");
    output.commit();
    EXPECT_EQ(read_file(target / "config.json"), "new");
  }
  EXPECT_FALSE(fs::exists(target / "shard-2"));
  EXPECT_EQ(entries(), 1U);
}

TEST_F(AtomicDirectoryTest, AFolderBesideItBecomesIt) {
  for (const bool has_older : {false, true}) {
    if (has_older) make_old();
    const auto start = folder() / "start";
    fs::create_directory(start);
    write(start / "weights", "kept");
    write(start / "config.json", "untouched");
    {
      AtomicDirectory output(target, start);
      write(output.path() / "config.json", "new");
      output.commit();
    }
    EXPECT_EQ(read_file(target / "config.json"), "new");
    EXPECT_EQ(read_file(target / "weights"), "kept");
    EXPECT_FALSE(fs::exists(target / "shard-2"));
    EXPECT_EQ(entries(), 1U);
  }
}

TEST_F(AtomicDirectoryTest, AFolderThatWasToBecomeItStaysWithoutCommit) {
  make_old();
  fs::create_directory(folder() / "start");
  {
    const AtomicDirectory output(target, folder() / "start");
    write(output.path() / "config.json", "new");
  }
  EXPECT_EQ(read_file(target / "config.json"), "old");
  EXPECT_EQ(read_file(folder() / "start" / "config.json"), "new");
  EXPECT_EQ(entries(), 2U);
}

TEST_F(AtomicDirectoryTest, WithoutCommitNothingIsLeft) {
  {
    const AtomicDirectory output(target);
    write(output.path() / "config.json", "new");
  }
  EXPECT_EQ(entries(), 0U);
}

TEST_F(AtomicDirectoryTest, WithoutCommitTheOldOneStays) {
  make_old();
  {
    const AtomicDirectory output(target);
    write(output.path() / "config.json", "new");
  }
  EXPECT_EQ(read_file(target / "config.json"), "old");
  EXPECT_EQ(entries(), 1U);
}

TEST_F(AtomicDirectoryTest, AKilledProcessLeavesTheOldOne) {
  make_old();
  const auto child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const AtomicDirectory output(target);
    write(output.path() / "config.json", "half");
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(read_file(target / "config.json"), "old");
  EXPECT_EQ(read_file(target / "shard-2"), "old");
}

TEST_F(AtomicDirectoryTest, ATrailingSlashMeansTheSameFolder) {
  {
    AtomicDirectory output(target / "");
    write(output.path() / "config.json", "new");
    output.commit();
  }
  EXPECT_EQ(read_file(target / "config.json"), "new");
  EXPECT_EQ(entries(), 1U);
}

TEST_F(AtomicDirectoryTest, WritesWhatALinkPointsTo) {
  for (const bool exists : {false, true}) {
    const auto aim = folder() / "disk" / "checkpoint";
    if (exists) write(aim / "shard-2", "old");
    if (!exists) fs::create_symlink(fs::path("disk") / "checkpoint", target);
    {
      AtomicDirectory output(target);
      EXPECT_EQ(output.path().parent_path(), aim.parent_path());  // on the same disk
      write(output.path() / "config.json", "new");
      output.commit();
    }
    EXPECT_TRUE(fs::is_symlink(target));
    EXPECT_EQ(read_file(aim / "config.json"), "new");
    EXPECT_FALSE(fs::exists(aim / "shard-2"));
    EXPECT_EQ(entries(), 2U);
  }
}

TEST_F(AtomicDirectoryTest, MakesTheFoldersAboveIt) {
  const auto deep = folder() / "runs" / "1" / "checkpoint";
  AtomicDirectory output(deep);
  output.commit();
  EXPECT_TRUE(fs::is_directory(deep));
}

TEST_F(AtomicDirectoryTest, RefusesToReplaceAFile) {
  write(target, "not a folder");
  const auto message = message_of<Error>([&] { const AtomicDirectory output(target); });
  EXPECT_EQ(message, target.string() + ": exists and is not a folder; name another output");
  EXPECT_EQ(read_file(target), "not a folder");
}

TEST_F(AtomicDirectoryTest, NamesTheParentThatCannotBeMade) {
  write(target, "not a folder");
  const auto message = message_of<Error>([&] { const AtomicDirectory output(target / "inner" / "checkpoint"); });
  EXPECT_NE(message.find((target / "inner").string()), std::string::npos) << message;
}

}  // namespace
}  // namespace normtweak
