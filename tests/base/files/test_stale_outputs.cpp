// What killed runs leave beside an output goes with the next one; what living ones are writing stays.
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/base/files/stale_outputs.h"
#include "support/temporary_folder.h"

namespace normtweak {
namespace {
namespace fs = std::filesystem;

// The number of a process that lived.
::pid_t gone() {
  const auto child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  return child;
}

class StaleOutputsTest : public tests::TemporaryFolder {
 protected:
  fs::path staged(const std::string& target, ::pid_t process) const {
    return folder() / fmt::format(".{}.{}.partial", target, process);
  }

  fs::path folder_of_files(const fs::path& path) const {
    fs::create_directory(path);
    write(path / "weights", "half");
    return path;
  }
};

TEST_F(StaleOutputsTest, GoWithTheNextRun) {
  const auto tree = folder_of_files(staged("out", gone()));
  write(staged("file", gone()), "half");
  AtomicDirectory(folder() / "out").commit();
  EXPECT_FALSE(fs::exists(tree));
  write_file_atomically(folder() / "file", [](std::ostream& file) { file << "whole"; });
  EXPECT_EQ(entries(), 2U);  // the results
}

TEST_F(StaleOutputsTest, OfLivingProcessesStay) {
  const auto parent = folder_of_files(staged("out", ::getppid())), init = staged("out", 1);
  write(init, "half");
  remove_stale_outputs(folder() / "out");
  EXPECT_TRUE(fs::exists(parent / "weights"));
  EXPECT_TRUE(fs::exists(init));
}

// As a process in another container, whose number says nothing here.
TEST_F(StaleOutputsTest, WhatIsLockedStays) {
  const auto tree = folder_of_files(staged("out", gone())), file = staged("out", gone());
  write(file, "half");
  {
    const FileLock of_tree(tree), of_file(file);
    remove_stale_outputs(folder() / "out");
    EXPECT_TRUE(fs::exists(tree / "weights"));
    EXPECT_TRUE(fs::exists(file));
  }
  remove_stale_outputs(folder() / "out");
  EXPECT_EQ(entries(), 0U);
}

// A process that was killed while it replaced the folder, where that takes several steps.
TEST_F(StaleOutputsTest, AReplacedFolderGoesBackWhereThereIsNone) {
  for (const auto process : {gone(), ::getpid()}) {  // in containers the next process may get the number of the last
    const auto replaced = folder_of_files(folder() / fmt::format(".out.{}.replaced", process));
    folder_of_files(staged("out", process));
    {
      const FileLock lock(replaced);
      remove_stale_outputs(folder() / "out");
      EXPECT_TRUE(fs::exists(replaced));
    }
    remove_stale_outputs(folder() / "out");
    EXPECT_EQ(read_file(folder() / "out" / "weights"), "half");
    EXPECT_EQ(entries(), 1U);
    folder_of_files(replaced);
    remove_stale_outputs(folder() / "out");  // there is one now
    EXPECT_EQ(entries(), 1U);
    remove_tree(folder() / "out");
  }
}

// Its process is gone, although another one may have got its number since: nobody holds a lock.
TEST_F(StaleOutputsTest, AReplacedFolderGoesBackWhoeverHasItsNumberNow) {
  const auto replaced = folder_of_files(folder() / fmt::format(".out.{}.replaced", ::getppid()));
  EXPECT_EQ(restore_replaced(folder() / "out"), replaced);
  EXPECT_EQ(read_file(folder() / "out" / "weights"), "half");
  EXPECT_EQ(restore_replaced(folder() / "out"), std::nullopt);
}

TEST_F(StaleOutputsTest, OfSeveralReplacedFoldersTheNewestGoesBack) {
  const auto now = fs::file_time_type::clock::now();
  for (const auto age : {3, 1, 2}) {
    const auto path = folder_of_files(folder() / fmt::format(".out.{}.replaced", gone()));
    write(path / "weights", fmt::format("{} days old", age));
    fs::last_write_time(path, now - age * std::chrono::hours(24));
  }
  remove_stale_outputs(folder() / "out");
  EXPECT_EQ(read_file(folder() / "out" / "weights"), "1 days old");
  EXPECT_EQ(entries(), 1U);
}

// A link cannot be locked, as folders on NFS cannot.
TEST_F(StaleOutputsTest, WithoutLocksAReplacedFolderGoesBackAfterAWhile) {
  folder_of_files(folder() / "elsewhere");
  const auto replaced = folder() / fmt::format(".out.{}.replaced", gone());
  fs::create_symlink("elsewhere", replaced);
  std::thread living([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    folder_of_files(folder() / "out");
  });
  EXPECT_EQ(restore_replaced(folder() / "out"), std::nullopt);
  living.join();
  remove_tree(folder() / "out");
  EXPECT_EQ(restore_replaced(folder() / "out"), replaced);
  EXPECT_EQ(read_file(folder() / "out" / "weights"), "half");
}

TEST_F(StaleOutputsTest, MessagesShowTheFinalName) {
  const auto inner = staging_name(staging_name(folder() / "out") / "model.safetensors");
  EXPECT_EQ(final_name(inner), folder() / "out" / "model.safetensors");
  EXPECT_EQ(final_name("a/.b.1.partial/c"), "a/.b.1.partial/c");  // not of this process: the user's own
  EXPECT_EQ(final_name("/"), "/");
  AtomicDirectory result(folder() / "out");
  const auto blocked = result.path() / "model.safetensors";
  fs::create_directories(blocked / "x");
  const auto message =
      tests::message_of<Error>([&] { write_file_atomically(blocked, [](std::ostream& file) { file << "whole"; }); });
  EXPECT_TRUE(message.starts_with((folder() / "out" / "model.safetensors").string() + ": cannot put")) << message;
}

TEST_F(StaleOutputsTest, OtherNamesStay) {
  const auto number = gone();
  const std::vector<std::string> names = {fmt::format(".other.{}.partial", number),
                                          fmt::format(".out.{}.partial.x", number),
                                          fmt::format(".other.{}.replaced", number),
                                          fmt::format(".out.0{}.partial", number),
                                          fmt::format(".out.x.{}.partial", number),
                                          ".out..partial",
                                          ".out.-1.partial"};
  for (const auto& name : names) write(folder() / name, "kept");
  remove_stale_outputs(folder() / "out");
  EXPECT_EQ(entries(), names.size());
}

}  // namespace
}  // namespace normtweak
