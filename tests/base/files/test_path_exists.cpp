// Files that are there, that are not, and links to what is not.
#include <functional>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
#include "normtweak/base/files/path_exists.h"
#include "support/temporary_folder.h"

namespace normtweak {
namespace {
namespace fs = std::filesystem;
using tests::message_of;

class PathExistsTest : public tests::TemporaryFolder {};

TEST_F(PathExistsTest, FollowsLinks) {
  write(folder() / "file", "text");
  fs::create_symlink("file", folder() / "link");
  fs::create_symlink(".", folder() / "here");
  for (const auto* name : {"file", "link", "here", "here/link", "."}) EXPECT_TRUE(path_exists(folder() / name)) << name;
  for (const auto* name : {"absent", "absent/file", "file/x"}) EXPECT_FALSE(path_exists(folder() / name)) << name;
  EXPECT_FALSE(path_exists(folder() / std::string(300, 'x')));
  EXPECT_FALSE(path_exists(std::string(10'000, 'x')));
  EXPECT_FALSE(path_exists(""));
}

TEST_F(PathExistsTest, ALinkToNothingIsNamedWithItsTarget) {
  fs::create_symlink("../blobs/abc", folder() / "config.json");
  const auto expected = (folder() / "config.json").string() + ": is a link to ../blobs/abc, which is missing; ";
  for (const auto& look : {std::function<void(const fs::path&)>(&path_exists), {&read_file}, {[](const fs::path& path) {
                             MappedFile{path};
                           }}}) {
    EXPECT_TRUE(message_of<Error>([&] { look(folder() / "config.json"); }).starts_with(expected));
  }
}

TEST_F(PathExistsTest, ALinkToItselfIsRefused) {
  fs::create_symlink("endless", folder() / "endless");
  EXPECT_TRUE(
      message_of<Error>([&] { path_exists(folder() / "endless"); }).starts_with((folder() / "endless").string()));
}

}  // namespace
}  // namespace normtweak
