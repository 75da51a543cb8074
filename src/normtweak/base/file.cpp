#include "normtweak/base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <system_error>

#include "normtweak/base/error.h"
#include "normtweak/base/presence.h"
#include "normtweak/base/put_in_place.h"

namespace normtweak {
namespace fs = std::filesystem;
namespace {

std::string reason() { return std::strerror(errno); }

[[noreturn]] void fail_to_open(const fs::path& path) {
  const auto why = reason();
  refuse_dangling(path);
  fail("{}: cannot be read: {}", path.string(), why);
}

void make_parent(const fs::path& target) {
  if (!target.has_parent_path()) return;
  std::error_code error;
  fs::create_directories(target.parent_path(), error);
  if (error) fail("{}: cannot create the folder: {}", final_name(target.parent_path()), error.message());
}

void flush_to_disk(const fs::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail("{}: cannot reopen: {}", final_name(path), reason());
  const int status = ::fsync(file);
  ::close(file);
  if (status != 0) fail("{}: cannot flush to disk: {}", final_name(path), reason());
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

fs::path place_of(const fs::path& target) {
  if (target.empty()) fail_usage("the name of the output is empty");
  try {
    return resolved(target);
  } catch (const fs::filesystem_error& error) {  // a name that is too long, a folder that may not be searched, ...
    fail("{}: cannot be written: {}; name another output", target.string(), error.code().message());
  }
}

std::string read_file(const fs::path& path) {
  std::error_code unknown;  // opening the file tells
  if (fs::is_directory(path, unknown)) fail("{}: is a folder, a file is needed", path.string());
  std::ifstream file(path, std::ios::binary);
  if (!file) fail_to_open(path);
  std::ostringstream text;
  text << file.rdbuf();
  if (file.bad()) fail("{}: reading failed: {}", path.string(), reason());
  return std::move(text).str();
}

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail_to_open(path);
  struct stat facts = {};
  const bool is_file = ::fstat(file, &facts) == 0 && S_ISREG(facts.st_mode);
  size_ = is_file ? static_cast<std::size_t>(facts.st_size) : 0;
  if (size_ > 0) data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
  const auto why = reason();
  ::close(file);
  if (!is_file) fail("{}: is not a regular file", path.string());
  if (data_ == MAP_FAILED) {
    data_ = nullptr;
    fail("{}: cannot be mapped into memory: {}", path.string(), why);
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

void write_file_atomically(const fs::path& target, const std::function<void(std::ostream&)>& write) {
  const auto path = place_of(target);
  make_parent(path);
  remove_leftovers(path);
  const Unfinished staging(staging_name(path));
  std::ofstream file(staging.path(), std::ios::binary | std::ios::trunc);
  if (!file) fail("{}: cannot be written: {}", final_name(path), reason());
  const Claim claim(staging.path());
  write(file);
  file.close();
  if (!file) fail("{}: writing failed (is the disk full?): {}", final_name(path), reason());
  flush_to_disk(staging.path());
  std::error_code error;
  fs::rename(staging.path(), path, error);
  if (error) fail("{}: cannot put the finished file in place: {}", final_name(path), error.message());
}

AtomicDirectory::AtomicDirectory(const fs::path& target) : target_(place_of(target)) {
  std::error_code error;
  if (fs::exists(target_, error) && !fs::is_directory(target_, error)) {
    fail("{}: exists and is not a folder; name another output", target_.string());
  }
  make_parent(target_);
  remove_leftovers(target_);
  staging_ = std::make_unique<const Unfinished>(staging_name(target_));
  fs::create_directory(path(), error);
  if (error) fail("{}: cannot be created: {}", target_.string(), error.message());
  claim_ = std::make_unique<const Claim>(path());
}

void AtomicDirectory::commit() {
  std::error_code error;
  for (fs::recursive_directory_iterator entry(path(), error), end; !error && entry != end; entry.increment(error)) {
    if (fs::is_regular_file(entry->symlink_status(error))) flush_to_disk(entry->path());
  }
  if (error) fail("{}: cannot be finished: {}", final_name(path()), error.message());
  put_in_place(path(), target_);  // path() then names an older folder, if there was one; the destructor removes it
}

}  // namespace normtweak
