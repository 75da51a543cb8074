// Files that are there, that are not, and links to what is not.
#include <functional>

#include "normtweak/base/error.h"
#include "normtweak/base/file.h"
#include "normtweak/base/presence.h"
#include "support/temporary_folder.h"

namespace normtweak {
namespace {
namespace fs = std::filesystem;
using tests::message_of;

class PresenceTest : public tests::TemporaryFolder {};

TEST_F(PresenceTest, FollowsLinks) {
  write(folder() / "file", "text");
  fs::create_symlink("file", folder() / "link");
  fs::create_symlink(".", folder() / "here");
  for (const auto* name : {"file", "link", "here", "here/link", "."}) EXPECT_TRUE(is_present(folder() / name)) << name;
  for (const auto* name : {"absent", "absent/file", "file/x"}) EXPECT_FALSE(is_present(folder() / name)) << name;
  EXPECT_FALSE(is_present(folder() / std::string(300, 'x')));
  EXPECT_FALSE(is_present(std::string(10'000, 'x')));
  EXPECT_FALSE(is_present(""));
}

TEST_F(PresenceTest, ALinkToNothingIsNamedWithItsTarget) {
  fs::create_symlink("../blobs/abc", folder() / "config.json");
  const auto expected = (folder() / "config.json").string() + ": is a link to ../blobs/abc, which is missing; ";
  for (const auto& look : {std::function<void(const fs::path&)>(&is_present), {&read_file}, {[](const fs::path& path) {
                             MappedFile{path};
                           }}}) {
    EXPECT_TRUE(message_of<Error>([&] { look(folder() / "config.json"); }).starts_with(expected));
  }
}

TEST_F(PresenceTest, ALinkToItselfIsRefused) {
  fs::create_symlink("endless", folder() / "endless");
  EXPECT_TRUE(
      message_of<Error>([&] { is_present(folder() / "endless"); }).starts_with((folder() / "endless").string()));
}

}  // namespace
}  // namespace normtweak
