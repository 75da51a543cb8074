#include "normtweak/base/files/output_buffer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace normtweak {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{8} << 20;
constexpr std::size_t kMostWaiting = 4;
constexpr std::size_t kComparedBytes = std::size_t{1} << 20;  // at a time

int open(const std::filesystem::path& path, OldContent old) {
  const int how = old == OldContent::kept ? O_RDWR | O_CREAT : O_WRONLY | O_CREAT | O_TRUNC;
  return ::open(path.c_str(), how | O_CLOEXEC, 0666);
}

}  // namespace

OutputBuffer::OutputBuffer(const std::filesystem::path& path, OldContent old) : file_(open(path, old)), old_(old) {
  // Now, since the thread must not run out of memory: nobody would catch what it throws.
  empty_.reserve(kMostWaiting + 2);
  if (old == OldContent::kept) read_.resize(kComparedBytes);
}

OutputBuffer::~OutputBuffer() {
  {
    const std::lock_guard lock(mutex_);
    waiting_.clear();
  }
  stop();
  if (file_ >= 0) ::close(file_);
}

void OutputBuffer::stop() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    is_done_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

int OutputBuffer::close() {
  stop();
  if (error_ == 0) error_ = write_out(filling_);
  if (error_ == 0 && old_ == OldContent::kept && ::ftruncate(file_, written_) != 0) error_ = errno;
  if (::close(std::exchange(file_, -1)) != 0 && error_ == 0) error_ = errno;
  return error_;
}

OutputBuffer::int_type OutputBuffer::overflow(int_type letter) {
  if (traits_type::eq_int_type(letter, traits_type::eof())) return traits_type::not_eof(letter);
  const auto byte = traits_type::to_char_type(letter);
  return xsputn(&byte, 1) == 1 ? letter : traits_type::eof();
}

std::streamsize OutputBuffer::xsputn(const char* bytes, std::streamsize count) {
  std::streamsize taken = 0;
  while (taken < count) {
    if (filling_.size() == kBufferBytes && !hand_over()) return taken;
    const auto next = std::min<std::streamsize>(count - taken, kBufferBytes - filling_.size());
    filling_.insert(filling_.end(), bytes + taken, bytes + taken + next);
    taken += next;
  }
  return taken;
}

// False if something failed before.
bool OutputBuffer::hand_over() {
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return waiting_.size() < kMostWaiting || error_ != 0; });
  if (error_ != 0) return false;
  waiting_.push_back(std::exchange(filling_, {}));
  if (!empty_.empty()) {
    filling_ = std::move(empty_.back());
    empty_.pop_back();
  }
  lock.unlock();
  changed_.notify_all();
  filling_.reserve(kBufferBytes);
  return true;
}

void OutputBuffer::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return !waiting_.empty() || is_done_; });
    if (waiting_.empty()) return;
    auto bytes = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    changed_.notify_all();
    const int error = write_out(bytes);
    bytes.clear();
    lock.lock();
    empty_.push_back(std::move(bytes));
    if (error == 0) continue;
    error_ = error;
    changed_.notify_all();
    return;
  }
}

// Whether the file holds these bytes where they go.
bool OutputBuffer::is_there(const char* bytes, std::size_t size) {
  const auto count = ::pread(file_, read_.data(), size, written_);
  return count == static_cast<::ssize_t>(size) && std::memcmp(read_.data(), bytes, size) == 0;
}

// Returns 0 or an errno.
int OutputBuffer::write_out(const Bytes& bytes) {
  const auto begin = written_;
  bool changes = false;
  for (std::size_t done = 0; done < bytes.size();) {
    const auto left = bytes.size() - done, size = old_ == OldContent::kept ? std::min(left, kComparedBytes) : left;
    if (old_ == OldContent::kept && is_there(bytes.data() + done, size)) {
      done += size;
      written_ += static_cast<std::int64_t>(size);
      continue;
    }
    const auto count = ::pwrite(file_, bytes.data() + done, size, written_);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    changes = true;
    done += static_cast<std::size_t>(count);
    written_ += count;
  }
  // Where a file system knows no such request, the fsync at the end does it all.
  if (changes && bytes.size() == kBufferBytes) {
    ::sync_file_range(file_, begin, written_ - begin, SYNC_FILE_RANGE_WRITE);
  }
  return 0;
}

}  // namespace normtweak
