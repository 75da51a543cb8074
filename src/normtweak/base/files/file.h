// Files: read whole, memory-mapped read-only, and written atomically: a killed run leaves either the old content or the
// new.
#pragma once
#include <cstddef>
#include <filesystem>
#include <functional>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>

#include "normtweak/base/files/stale_outputs.h"
#include "normtweak/base/files/temporary_path.h"

namespace normtweak {

// The whole file. Throws Error if it is a folder, a pipe or anything else but a regular file, if it is larger than a
// file of its name can be (file_limits.h), or if it cannot be read to its end. Where memory does not suffice,
// std::bad_alloc.
std::string read_file(const std::filesystem::path& path);

// A file mapped read-only; pages are loaded on first access. Movable, not copyable.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);  // throws Error if it is no regular file or cannot be opened
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(data_), size_}; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

// Where an output goes: an absolute path without a trailing slash and with symbolic links resolved, so that their
// targets are written, whether these exist or not, and the links stay. Throws Error if the path has no file name, or if
// links form a loop.
std::filesystem::path resolve_output(const std::filesystem::path& target);

// The next two, as an argument: how a file of the result is written.
using WriteFile = void(const std::filesystem::path& path, const std::function<void(std::ostream&)>& write);

// Calls `write` with a stream to a temporary file beside `path`, flushes it to disk and renames it to `path`.
// Throws Error (and leaves `path` as it was, and no folder that was made for it) when a write fails, as on a full disk.
void write_file_atomically(const std::filesystem::path& path, const std::function<void(std::ostream&)>& write);

// The same for several files, one written after the other; all of them are on disk before the first is renamed.
// write: called with the number of the file, from 0.
void write_files_atomically(std::span<const std::filesystem::path> paths,
                            const std::function<void(std::size_t, std::ostream&)>& write);

// Writes a file that need not be replaced atomically, as in a folder that will be: what it already holds at the same
// place is not written again. Throws Error as above; the file then has parts of both contents.
void change_file(const std::filesystem::path& path, const std::function<void(std::ostream&)>& write);

// Renames a finished file to `path`, in the same folder. Throws Error if that fails; it then stays where it is.
void put_in_place(const std::filesystem::path& finished, const std::filesystem::path& path);

// A directory that is created, or replaces an older one, atomically: write into `path()`, then `commit()`. Without a
// commit, the destructor removes what was written, and folders that were made for it. This and write_file_atomically()
// first remove what killed runs left beside the same target.
class AtomicDirectory {
 public:
  // Throws Error if `target` exists and is not a directory, or if its parent cannot be written.
  explicit AtomicDirectory(const std::filesystem::path& target);
  // Begins with `start`, a folder beside `target` as resolve_output() names both: it is changed where it is, stays
  // there without a commit(), and becomes the target with one.
  AtomicDirectory(const std::filesystem::path& target, const std::filesystem::path& start);
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void commit();

 private:
  void prepare_target() const;

  std::filesystem::path target_, path_;
  std::unique_ptr<const TemporaryPath> staging_;  // null if there was a folder to start with
  std::unique_ptr<const FileLock> lock_;
};

}  // namespace normtweak
