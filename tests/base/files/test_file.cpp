// Files read whole, mapped, and written atomically; a full disk is played by a limit on the size of files.
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <utility>

#include "normtweak/base/error.h"
#include "normtweak/base/files/file.h"
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
  EXPECT_EQ(message_of<Error>([&] { MappedFile{folder()}; }), folder().string() + ": is a folder, a file is needed");
}

// None of them is waited for, or read without end.
TEST_F(FileTest, OnlyRegularFilesAreRead) {
  const auto pipe = folder() / "pipe", link = folder() / "link", socket = folder() / "socket";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  fs::create_symlink(pipe, link);
  ASSERT_EQ(::mknod(socket.c_str(), S_IFSOCK | 0600, 0), 0);
  const std::pair<fs::path, const char*> cases[] = {
      {pipe, "pipe"}, {link, "pipe"}, {socket, "socket"}, {"/dev/zero", "device"}, {"/dev/null", "device"}};
  for (const auto& [path, name] : cases) {
    const auto expected = fmt::format("{}: is a {}, a file is needed", path.string(), name);
    EXPECT_EQ(message_of<Error>([&] { read_file(path); }), expected);
    EXPECT_EQ(message_of<Error>([&] { MappedFile{path}; }), expected);
  }
}

// Holes, so that no disk is needed: read, they would be memory full of zeros.
TEST_F(FileTest, FilesLargerThanTheirKindAreRefused) {
  constexpr std::uintmax_t kHuge = std::uintmax_t{1} << 42;
  fs::create_directory(folder() / "refs");
  const std::pair<const char*, std::uintmax_t> cases[] = {
      {"config.json", 16 << 20}, {"tokenizer.json", 256 << 20}, {"model.safetensors.index.json", 256 << 20},
      {"merges.txt", 64 << 20},  {"refs/main", 4096},           {"text.txt", kHuge - 1}};
  for (const auto& [name, most] : cases) {
    const auto path = folder() / name;
    write(path, "x");
    EXPECT_EQ(read_file(path), "x");
    fs::resize_file(path, most + 1);
    const auto message = message_of<Error>([&] { read_file(path); });
    EXPECT_EQ(message.rfind(fmt::format("{}: has {} bytes, at most ", path.string(), most + 1), 0), 0U) << message;
  }
  write(folder() / "main", std::string(5000, 'x'));  // only below refs/
  EXPECT_EQ(read_file(folder() / "main").size(), 5000U);
}

// The end of a file is not lost where memory ends; the process does not come back from the limit.
TEST_F(FileTest, AFileThatDoesNotFitInMemoryIsNotCutShort) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer itself needs more address space";
#endif
  const auto path = folder() / "text";
  write(path, "x");
  fs::resize_file(path, std::uintmax_t{256} << 20);
  const auto read_in_little_memory = [&] {
    std::ifstream statistics("/proc/self/statm");
    rlim_t pages = 0;
    statistics >> pages;
    const rlim_t limit = pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)) + (200 << 20);
    const rlimit limits = {.rlim_cur = limit, .rlim_max = limit};
    ::setrlimit(RLIMIT_AS, &limits);
    try {
      read_file(path);
    } catch (const Error&) {
      ::_exit(3);
    }
    ::_exit(4);
  };
  EXPECT_EXIT(read_in_little_memory(), testing::ExitedWithCode(3), "");
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
  // What a thread writes meanwhile, and what is written at the end.
  for (const std::size_t size : {std::size_t{60} << 20, std::size_t{1} << 20, std::size_t{5000}}) {
    const SmallDisk disk(4096);
    const auto message = message_of<Error>(
        [&] { write_file_atomically(path, [&](std::ostream& out) { out << std::string(size, 'x'); }); });
    EXPECT_EQ(message.rfind(path.string() + ": writing failed (is the disk full?)", 0), 0U) << message;
    EXPECT_EQ(read_file(path), "old");
    EXPECT_EQ(entries(), 1U);
  }
}

// More than a thread writes at a time, given in pieces of other sizes.
TEST_F(FileTest, ALargeFileIsWrittenWhole) {
  std::string text;
  while (text.size() < std::size_t{20} << 20) text += std::to_string(text.size()) + "\n";
  const auto path = folder() / "weights";
  for (const std::size_t piece : {std::size_t{100'003}, text.size()}) {
    write_file_atomically(path, [&](std::ostream& out) {
      for (std::size_t begin = 0; begin < text.size(); begin += piece) out << text.substr(begin, piece);
    });
    EXPECT_EQ(read_file(path), text);
  }
}

TEST_F(FileTest, AnExceptionWhileAThreadWritesLeavesTheOldFile) {
  const auto path = folder() / "weights";
  write(path, "old");
  const auto half_written = [](std::ostream& out) {
    out << std::string(std::size_t{50} << 20, 'x');
    throw std::logic_error("stop");
  };
  EXPECT_EQ(message_of<std::logic_error>([&] { write_file_atomically(path, half_written); }), "stop");
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(entries(), 1U);
}

// What is there becomes the new content, in the same file. What is the same is not written: it may lie on a full disk.
TEST_F(FileTest, OnlyWhatDiffersIsChanged) {
  const std::string old(std::size_t{20} << 20, 'x');
  auto changed = old;
  changed[std::size_t{13} << 20] = 'y';
  changed.back() = 'z';
  const auto path = folder() / "weights";
  for (const auto& text : {old, changed, old.substr(0, 100), changed, old + "longer", std::string()}) {
    write(path, old);
    struct stat before = {}, after = {};
    ::stat(path.c_str(), &before);
    change_file(path, [&](std::ostream& out) { out << text; });
    ::stat(path.c_str(), &after);
    EXPECT_EQ(read_file(path), text);
    EXPECT_EQ(before.st_ino, after.st_ino);
  }
  write(path, old);
  const SmallDisk disk(4096);
  change_file(path, [&](std::ostream& out) { out << old; });
  const auto message = message_of<Error>([&] { change_file(path, [&](std::ostream& out) { out << changed; }); });
  EXPECT_EQ(message.rfind(path.string() + ": writing failed (is the disk full?)", 0), 0U) << message;
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
  EXPECT_EQ(resolve_output(folder() / "home/project/out"), real / "data/store");
  EXPECT_EQ(resolve_output(folder() / "home/project/out/"), real / "data/store");
  EXPECT_EQ(resolve_output(folder() / "home/project/../new"), real / "data/new");
  EXPECT_EQ(resolve_output(folder() / "home/project/.."), real / "data");
  EXPECT_EQ(resolve_output(folder() / "absent/new"), real / "absent/new");
}

}  // namespace
}  // namespace normtweak
