// Files read whole, mapped, and written atomically; a full disk is played by a limit on the size of files.
#include <sys/resource.h>

#include <csignal>
#include <stdexcept>
#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/base/file.h"
#include "support/temporary_folder.h"

namespace normtweak {
namespace {
namespace fs = std::filesystem;
using tests::message_of;

class FileTest : public tests::TemporaryFolder {};

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

// While it lives, no file of this process grows beyond `bytes`: writes fail as they do on a full disk.
class SmallDisk {
 public:
  explicit SmallDisk(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  ~SmallDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_ = {};
  void (*handler_)(int);
};

TEST_F(FileTest, ReadsAllBytes) {
  const std::string bytes("a\0\r\n\xff", 5);
  write(folder() / "file", bytes);
  EXPECT_EQ(read_file(folder() / "file"), bytes);
  write(folder() / "empty", "");
  EXPECT_EQ(read_file(folder() / "empty"), "");
}

TEST_F(FileTest, ErrorsOfReadingNameTheFile) {
  const auto absent = folder() / "absent";
  EXPECT_EQ(message_of<Error>([&] { read_file(absent); }),
            absent.string() + ": cannot be read: No such file or directory");
  EXPECT_EQ(message_of<Error>([&] { read_file(folder()); }), folder().string() + ": is a folder, a file is needed");
}

TEST_F(FileTest, WritesWhatALinkPointsTo) {
  fs::create_directory(folder() / "disk");
  fs::create_symlink(fs::path("disk") / "file", folder() / "link");
  for (const auto* text : {"first", "second"}) {
    write_file_atomically(folder() / "link", [&](std::ostream& file) { file << text; });
    EXPECT_TRUE(fs::is_symlink(folder() / "link"));
    EXPECT_EQ(read_file(folder() / "disk" / "file"), text);
  }
  EXPECT_EQ(entries(), 2U);
}

TEST_F(FileTest, MapsAFile) {
  const auto path = folder() / "file";
  write(path, "mapped");
  MappedFile file(path);
  EXPECT_EQ(text_of(file), "mapped");
  EXPECT_EQ(file.path(), path);

  const MappedFile moved(std::move(file));
  EXPECT_EQ(text_of(moved), "mapped");
  fs::remove(path);  // the pages stay
  EXPECT_EQ(text_of(moved), "mapped");
}

TEST_F(FileTest, AMoveAssignmentTakesTheOtherFile) {
  write(folder() / "one", "first");
  write(folder() / "two", "second");
  MappedFile file(folder() / "one");
  file = MappedFile(folder() / "two");
  EXPECT_EQ(text_of(file), "second");
  EXPECT_EQ(file.path(), folder() / "two");
}

TEST_F(FileTest, AnEmptyFileMapsToNoBytes) {
  write(folder() / "empty", "");
  EXPECT_TRUE(MappedFile(folder() / "empty").bytes().empty());
}

TEST_F(FileTest, ErrorsOfMappingNameTheFile) {
  const auto absent = folder() / "absent";
  EXPECT_EQ(message_of<Error>([&] { MappedFile{absent}; }),
            absent.string() + ": cannot be read: No such file or directory");
  EXPECT_EQ(message_of<Error>([&] { MappedFile{folder()}; }), folder().string() + ": is not a regular file");
}

TEST_F(FileTest, WritesANewFileAndReplacesAnOldOne) {
  const auto path = folder() / "inner" / "report.json";
  for (const auto* text : {"first", "second, longer", "3"}) {
    write_file_atomically(path, [&](std::ostream& out) { out << text; });
    EXPECT_EQ(read_file(path), text);
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(path.parent_path()), fs::directory_iterator()), 1);
}

TEST_F(FileTest, AnExceptionWhileWritingLeavesTheOldFile) {
  const auto path = folder() / "report.json";
  write(path, "old");
  const auto half_written = [](std::ostream& out) {
    out << "half";
    throw std::logic_error("stop");
  };
  EXPECT_EQ(message_of<std::logic_error>([&] { write_file_atomically(path, half_written); }), "stop");
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(entries(), 1U);
}

TEST_F(FileTest, AFullDiskLeavesTheOldFile) {
  const auto path = folder() / "weights";
  write(path, "old");
  // More and less than a stream's buffer: found while writing, and found when the file is closed.
  for (const std::size_t size : {std::size_t{1} << 20, std::size_t{5000}}) {
    const SmallDisk disk(4096);
    const auto message = message_of<Error>(
        [&] { write_file_atomically(path, [&](std::ostream& out) { out << std::string(size, 'x'); }); });
    EXPECT_EQ(message.rfind(path.string() + ": writing failed (is the disk full?)", 0), 0U) << message;
    EXPECT_EQ(read_file(path), "old");
    EXPECT_EQ(entries(), 1U);
  }
}

TEST_F(FileTest, AFolderThatCannotBeMadeIsNamed) {
  write(folder() / "file", "");
  const auto path = folder() / "file" / "inner" / "report.json";
  const auto message = message_of<Error>([&] { write_file_atomically(path, [](std::ostream&) {}); });
  EXPECT_NE(message.find((folder() / "file" / "inner").string()), std::string::npos) << message;
}

// `..` after a link leads out of what the link points to, as for the system.
TEST_F(FileTest, LinksAreFollowedAsTheSystemDoes) {
  fs::create_directories(folder() / "data/project");
  fs::create_directories(folder() / "home");
  fs::create_directory_symlink(folder() / "data/project", folder() / "home/project");
  fs::create_directory_symlink("../store", folder() / "data/project/out");
  const auto real = fs::canonical(folder());
  EXPECT_EQ(place_of(folder() / "home/project/out"), real / "data/store");
  EXPECT_EQ(place_of(folder() / "home/project/out/"), real / "data/store");
  EXPECT_EQ(place_of(folder() / "home/project/../new"), real / "data/new");
  EXPECT_EQ(place_of(folder() / "home/project/.."), real / "data");
  EXPECT_EQ(place_of(folder() / "absent/new"), real / "absent/new");
}

}  // namespace
}  // namespace normtweak
