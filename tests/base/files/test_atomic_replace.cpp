// atomic_replace() where the file system cannot exchange names, or fails on the way.

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <new>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/base/files/atomic_replace.h"
#include "normtweak/base/files/file.h"
#include "normtweak/base/files/stale_outputs.h"
#include "support/temporary_folder.h"

namespace normtweak {
namespace {
namespace fs = std::filesystem;
using tests::message_of;

// A file system that answers `to_flags` where there are flags, and to plain renames, in their order, what `plain`
// holds; 0, or beyond its end, lets it happen.
Rename answers(int to_flags, std::vector<int> plain = {}) {
  return [=, count = std::size_t{0}](const fs::path& from, const fs::path& to, unsigned int flags) mutable {
    if (flags != 0) return to_flags;
    const auto turn = count++;
    if (turn < plain.size() && plain[turn] != 0) return plain[turn];
    return rename_path(from, to, 0);
  };
}

class AtomicReplaceTest : public tests::TemporaryFolder {
 protected:
  const fs::path target = folder() / "checkpoint", finished = folder() / ".finished";

  void make(const fs::path& path, std::string_view content) const {
    fs::create_directory(path);
    write(path / "weights", content);
  }
};

TEST_F(AtomicReplaceTest, WithoutFlagsANewNameIsGiven) {
  for (const int error : {EINVAL, ENOSYS, EOPNOTSUPP}) {
    make(finished, "new");
    atomic_replace(finished, target, answers(error));
    EXPECT_EQ(read_file(target / "weights"), "new");
    EXPECT_EQ(entries(), 1U);
    remove_tree(target);
  }
}

TEST_F(AtomicReplaceTest, WithoutFlagsAnOlderFolderChangesPlaces) {
  for (const int error : {EINVAL, ENOSYS, EOPNOTSUPP}) {
    make(target, "old");
    make(finished, "new");
    atomic_replace(finished, target, answers(error));
    EXPECT_EQ(read_file(target / "weights"), "new");
    EXPECT_EQ(read_file(finished / "weights"), "old");
    EXPECT_EQ(entries(), 2U);
  }
}

TEST_F(AtomicReplaceTest, WithFlagsItDoesTheSame) {
  make(target, "old");
  make(finished, "new");
  atomic_replace(finished, target);
  EXPECT_EQ(read_file(target / "weights"), "new");
  EXPECT_EQ(read_file(finished / "weights"), "old");
}

TEST_F(AtomicReplaceTest, WhatFailsChangesNothing) {
  struct Failure {
    const char* name;
    int to_flags;
    std::vector<int> plain;
  };
  const Failure failures[] = {
      {"the exchange, for another reason", EACCES, {}},
      {"setting the older one aside", EINVAL, {EACCES}},
      {"putting the new one in", EINVAL, {0, EACCES}},
  };
  make(target, "old");
  make(finished, "new");
  for (const auto& failure : failures) {
    SCOPED_TRACE(failure.name);
    const auto message =
        message_of<Error>([&] { atomic_replace(finished, target, answers(failure.to_flags, failure.plain)); });
    EXPECT_EQ(message, target.string() + ": cannot put the finished folder in place: Permission denied");
    EXPECT_EQ(read_file(target / "weights"), "old");
    EXPECT_EQ(read_file(finished / "weights"), "new");
    EXPECT_EQ(entries(), 2U);
  }
}

// Whatever ends a run between the steps, SIGKILL included, the next to name the folder finds the old one or the new
// one.
TEST_F(AtomicReplaceTest, AKillAtAnyStepLeavesTheOldOneOrTheNewOne) {
  for (int lived = 0; lived <= 3; ++lived) {  // renames before the end
    SCOPED_TRACE(lived);
    make(target, "old");
    make(finished, "new");
    const auto child = ::fork();
    if (child == 0) {
      atomic_replace(finished, target,
                     [&, left = lived](const fs::path& from, const fs::path& to, unsigned int flags) mutable {
                       if (flags != 0) return EINVAL;
                       if (left-- == 0) ::_exit(0);
                       return rename_path(from, to, 0);
                     });
      ::_exit(0);
    }
    ::waitpid(child, nullptr, 0);
    EXPECT_EQ(restore_replaced(target).has_value(), lived == 1);
    EXPECT_EQ(read_file(target / "weights"), lived < 2 ? "old" : "new");
    remove_stale_outputs(target);
    EXPECT_EQ(read_file(target / "weights"), lived < 2 ? "old" : "new");
    remove_tree(finished);
    EXPECT_EQ(entries(), 1U);
    remove_tree(target);
  }
}

TEST_F(AtomicReplaceTest, AnExceptionAtAnyStepChangesNothing) {
  for (int lived = 0; lived <= 1; ++lived) {
    make(target, "old");
    make(finished, "new");
    const auto rename = [&, left = lived](const fs::path& from, const fs::path& to, unsigned int flags) mutable {
      if (flags != 0) return EINVAL;
      if (left-- == 0) throw std::bad_alloc();
      return rename_path(from, to, 0);
    };
    EXPECT_THROW(atomic_replace(finished, target, rename), std::bad_alloc);
    EXPECT_EQ(read_file(target / "weights"), "old");
    EXPECT_EQ(read_file(finished / "weights"), "new");
    EXPECT_EQ(entries(), 2U);
    remove_tree(target);
    remove_tree(finished);
  }
}

TEST_F(AtomicReplaceTest, AnOlderFolderThatCannotGoBackIsNamed) {
  make(target, "old");
  make(finished, "new");
  const auto message = message_of<Error>([&] {
    atomic_replace(finished, target, answers(EINVAL, {0, EACCES, EACCES}));
  });
  EXPECT_NE(message.find("; the older one is now " + replaced_name(target).string()), std::string::npos) << message;
  EXPECT_EQ(read_file(replaced_name(target) / "weights"), "old");
  remove_stale_outputs(target);  // as the next run does
  EXPECT_EQ(read_file(target / "weights"), "old");
}

TEST_F(AtomicReplaceTest, WhatAnEarlierProcessOfThisNumberSetAsideIsNoHindrance) {
  make(replaced_name(target), "older");
  make(target, "old");
  make(finished, "new");
  atomic_replace(finished, target, answers(EINVAL));
  EXPECT_EQ(read_file(target / "weights"), "new");
  EXPECT_EQ(read_file(finished / "weights"), "old");
  EXPECT_EQ(entries(), 2U);
}

}  // namespace
}  // namespace normtweak
