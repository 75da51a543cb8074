// Targets that cannot be written, and that can.
#include "normtweak/base/error.h"
#include "normtweak/base/files/writable.h"
#include "support/temporary_folder.h"

namespace normtweak {
namespace {
namespace fs = std::filesystem;
using tests::message_of;

class WritableTest : public tests::TemporaryFolder {};

TEST_F(WritableTest, AcceptsWhatCanBeMadeOrReplaced) {
  write(folder() / "file", "old");
  fs::create_directory(folder() / "tree");
  EXPECT_NO_THROW(check_file_target(folder() / "file"));
  EXPECT_NO_THROW(check_file_target(folder() / "new" / "deep" / "file"));
  EXPECT_NO_THROW(check_folder_target(folder() / "tree"));
  EXPECT_NO_THROW(check_folder_target(folder() / "tree" / ""));
  EXPECT_NO_THROW(check_folder_target(folder() / "new" / "deep" / "tree"));
  fs::create_symlink("tree", folder() / "link");
  EXPECT_NO_THROW(check_folder_target(folder() / "link"));
  EXPECT_NO_THROW(check_file_target("a name in the current folder"));
  EXPECT_EQ(entries(), 3U);  // asked only
}

struct Refusal {
  const char* what;
  void (*check)(const fs::path&);
  fs::path target;  // below the folder of the test, unless absolute
  const char* reason;
};

TEST_F(WritableTest, SaysWhyNot) {
  write(folder() / "file", "old");
  fs::create_directory(folder() / "tree");
  fs::create_symlink("endless", folder() / "endless");
  fs::create_symlink("file", folder() / "link");
  fs::create_symlink("tree", folder() / "tree-link");
  const Refusal refusals[] = {
      {"a folder where a file is to be", &check_file_target, "tree", "is a folder"},
      {"a file where a folder is to be", &check_folder_target, "file", "is not a folder"},
      {"a device", &check_file_target, "/dev/null", "not a regular file"},
      {"below a file", &check_file_target, "file/x", "is not a folder"},
      {"far below a file", &check_folder_target, "file/x/y", "is not a folder"},
      {"the root", &check_folder_target, "/", "cannot be replaced"},
      {"a link to itself", &check_folder_target, "endless", "without an end"},
      {"a link to a file where a folder is to be", &check_folder_target, "link", "is not a folder"},
      {"a link to a folder where a file is to be", &check_file_target, "tree-link", "is a folder"},
      {"a mount point", &check_folder_target, "/proc", "mount point"},
  };
  for (const auto& [what, check, target, reason] : refusals) {
    const auto message = message_of<Error>([&] { check(folder() / target); });
    EXPECT_NE(message.find(reason), std::string::npos) << what << ": " << message;
    EXPECT_TRUE(message.starts_with((folder() / target).string() + ": ")) << what << ": " << message;
  }
}

TEST_F(WritableTest, AsksForRoomOnTheDisk) {
  const auto target = folder() / "far" / "below" / "x";
  check_room(target, 1);
  const auto message = message_of<Error>([&] { check_room(target, std::numeric_limits<std::int64_t>::max()); });
  EXPECT_TRUE(message.starts_with(target.string() + ": the result takes about 8589934592.0 GiB and the disk has "))
      << message;
}

TEST_F(WritableTest, RefusesAnEmptyName) {
  EXPECT_EQ(message_of<Error>([] { check_folder_target(""); }), "the name of the output is empty");
  EXPECT_EQ(message_of<Error>([] { check_file_target(""); }), "the name of the output is empty");
}

}  // namespace
}  // namespace normtweak
