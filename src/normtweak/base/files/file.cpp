#include "normtweak/base/files/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <memory>
#include <new>
#include <ostream>
#include <system_error>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/base/files/atomic_replace.h"
#include "normtweak/base/files/file_limits.h"
#include "normtweak/base/files/output_buffer.h"
#include "normtweak/base/files/path_exists.h"

namespace normtweak {
namespace fs = std::filesystem;
namespace {

std::string reason() { return std::strerror(errno); }

[[noreturn]] void fail_to_open(const fs::path& path, int error) {
  refuse_dangling_link(path);
  fail("{}: cannot be read: {}", path.string(), std::strerror(error));
}

void flush_to_disk(const fs::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail("{}: cannot reopen: {}", final_name(path), reason());
  const int status = ::fsync(file);
  ::close(file);
  if (status != 0) fail("{}: cannot flush to disk: {}", final_name(path), reason());
}

std::string_view name_of(mode_t mode) {
  if (S_ISDIR(mode)) return "folder";
  if (S_ISFIFO(mode)) return "pipe";
  if (S_ISSOCK(mode)) return "socket";
  return "device";
}

// A regular file, open for reading.
class RegularFile {
 public:
  explicit RegularFile(const fs::path& path) : file_(open(path)) {
    struct stat facts = {};
    const bool is_known = ::fstat(file_.get(), &facts) == 0;
    if (!is_known) fail("{}: cannot be read: {}", path.string(), reason());
    refuse_others(path, facts.st_mode);
    size_ = static_cast<std::size_t>(facts.st_size);
  }
  int descriptor() const { return file_.get(); }
  std::size_t size() const { return size_; }

 private:
  class Descriptor {
   public:
    explicit Descriptor(int number) : number_(number) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
      if (number_ >= 0) ::close(number_);
    }
    int get() const { return number_; }

   private:
    int number_;
  };

  static void refuse_others(const fs::path& path, mode_t mode) {
    if (!S_ISREG(mode)) fail("{}: is a {}, a file is needed", path.string(), name_of(mode));
  }

  // Without O_NONBLOCK, opening a pipe waits for someone to write to it.
  static int open(const fs::path& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file >= 0) return file;
    const auto why = errno;
    struct stat facts = {};
    if (::stat(path.c_str(), &facts) == 0) refuse_others(path, facts.st_mode);  // a socket cannot be opened at all
    fail_to_open(path, why);
  }

  Descriptor file_;
  std::size_t size_ = 0;
};

void write_through(const fs::path& path, OldContent old, const std::function<void(std::ostream&)>& write) {
  OutputBuffer buffer(path, old);
  if (!buffer.is_open()) fail("{}: cannot be written: {}", final_name(path), reason());
  const FileLock lock(path);
  std::ostream file(&buffer);
  write(file);
  if (const int error = buffer.close(); error != 0) {
    fail("{}: writing failed (is the disk full?): {}", final_name(path), std::strerror(error));
  }
  // A stream swallows what its buffer throws, as where limits allow no thread or no memory.
  if (!file) fail("{}: writing failed: no memory or no thread is left (see `ulimit -v -u`)", final_name(path));
  flush_to_disk(path);
}

fs::path resolved(const fs::path& target) {
  auto place = fs::absolute(target);
  constexpr int kMostLinks = 40;  // Linux's own limit
  for (int links = 0;; ++links) {
    if (!place.has_filename()) place = place.parent_path();
    const auto name = place.filename();
    // Resolve the folder first, since `..` after a link is relative to the link's target.
    place =
        name == ".." || name == "." ? fs::weakly_canonical(place) : fs::weakly_canonical(place.parent_path()) / name;
    if (!place.has_filename()) fail("{}: cannot be replaced; name a folder in it", target.string());
    std::error_code none;
    if (!fs::is_symlink(fs::symlink_status(place, none))) return place;
    if (links == kMostLinks) fail("{}: symbolic links without an end; name another output", target.string());
    place = place.parent_path() / fs::read_symlink(place);
  }
}

}  // namespace

fs::path resolve_output(const fs::path& target) {
  if (target.empty()) fail_usage("the name of the output is empty");
  try {
    return resolved(target);
  } catch (const fs::filesystem_error& error) {  // a name that is too long, a folder that may not be searched, ...
    fail("{}: cannot be written: {}; name another output", target.string(), error.code().message());
  }
}

std::string read_file(const fs::path& path) {
  const RegularFile file(path);
  if (const auto most = most_bytes_of(path); file.size() > most) {
    fail("{}: has {} bytes, at most {} are read; is it the right file?", path.string(), file.size(), most);
  }
  std::string text;
  try {
    text.resize(file.size());
  } catch (const std::bad_alloc&) {
    fail("{}: has {} bytes, more than the memory that is left to read them", path.string(), file.size());
  }
  std::size_t done = 0;
  while (done < text.size()) {
    const auto count = ::read(file.descriptor(), text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail("{}: reading failed: {}", path.string(), reason());
    if (count == 0) {
      fail("{}: ends after {} of its {} bytes; it was changed while it was read", path.string(), done, text.size());
    }
    done += static_cast<std::size_t>(count);
  }
  return text;
}

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  const RegularFile file(path);
  size_ = file.size();
  if (size_ > 0) data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (data_ == MAP_FAILED) {
    data_ = nullptr;
    fail("{}: cannot be mapped into memory: {}", path.string(), reason());
  }
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

void change_file(const fs::path& path, const std::function<void(std::ostream&)>& write) {
  write_through(path, OldContent::kept, write);
}

void put_in_place(const fs::path& finished, const fs::path& path) {
  std::error_code error;
  fs::rename(finished, path, error);
  if (error) fail("{}: cannot put the finished file in place: {}", final_name(path), error.message());
}

void write_file_atomically(const fs::path& target, const std::function<void(std::ostream&)>& write) {
  write_files_atomically({&target, 1}, [&](std::size_t, std::ostream& stream) { write(stream); });
}

void write_files_atomically(std::span<const fs::path> targets,
                            const std::function<void(std::size_t, std::ostream&)>& write) {
  std::deque<TemporaryPath> finished;  // which cannot be moved
  std::vector<fs::path> paths;
  for (std::size_t i = 0; i < targets.size(); ++i) {
    paths.push_back(resolve_output(targets[i]));
    remove_stale_outputs(paths.back());
    const auto& staging = finished.emplace_back(staging_name(paths.back()));
    write_through(staging.path(), OldContent::dropped, [&](std::ostream& stream) { write(i, stream); });
  }
  for (std::size_t i = 0; i < paths.size(); ++i) put_in_place(finished[i].path(), paths[i]);
}

void AtomicDirectory::prepare_target() const {
  std::error_code error;
  if (fs::exists(target_, error) && !fs::is_directory(target_, error)) {
    fail("{}: exists and is not a folder; name another output", target_.string());
  }
  remove_stale_outputs(target_);
}

AtomicDirectory::AtomicDirectory(const fs::path& target)
    : target_(resolve_output(target)), path_(staging_name(target_)) {
  prepare_target();
  staging_ = std::make_unique<const TemporaryPath>(path_);
  std::error_code error;
  fs::create_directory(path(), error);
  if (error) fail("{}: cannot be created: {}", target_.string(), error.message());
  lock_ = std::make_unique<const FileLock>(path());
}

AtomicDirectory::AtomicDirectory(const fs::path& target, const fs::path& start)
    : target_(resolve_output(target)), path_(start), lock_(std::make_unique<const FileLock>(start)) {
  prepare_target();
}

void AtomicDirectory::commit() {
  std::error_code error;
  for (fs::recursive_directory_iterator entry(path(), error), end; !error && entry != end; entry.increment(error)) {
    if (fs::is_regular_file(entry->symlink_status(error))) flush_to_disk(entry->path());
  }
  if (error) fail("{}: cannot be finished: {}", final_name(path()), error.message());
  atomic_replace(path(), target_);  // path() then names an older folder, if there was one
  if (staging_) return;             // whose destructor removes it
  const TemporaryPath older(staging_name(target_));
  fs::rename(path(), older.path(), error);
}

}  // namespace normtweak
