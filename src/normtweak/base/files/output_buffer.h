// The buffer behind a stream to a file: a thread of its own writes, while the caller makes the next bytes.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <mutex>
#include <streambuf>
#include <thread>
#include <vector>

namespace normtweak {

enum class OldContent {
  dropped,  // the file is created, or emptied
  kept,     // what the file already holds at the same place is not written again
};

// Six buffers of 8 MiB: one is filled, four wait and one is written. The thread starts with the first 8 MiB, so that
// small files need none. The system is told to begin with the disk at once, so that little is left for an fsync at the
// end.
class OutputBuffer : public std::streambuf {
 public:
  OutputBuffer(const std::filesystem::path& path, OldContent old);
  OutputBuffer(const OutputBuffer&) = delete;
  OutputBuffer& operator=(const OutputBuffer&) = delete;
  ~OutputBuffer() override;  // without a close(), what waits is dropped

  bool is_open() const { return file_ >= 0; }

  // Waits until all is written, and cuts off what a longer file held behind it. Returns 0 or the errno of what failed
  // first, here or before; once something failed, the stream takes no more.
  int close();

 protected:
  int_type overflow(int_type letter) override;
  std::streamsize xsputn(const char* bytes, std::streamsize count) override;

 private:
  using Bytes = std::vector<char>;

  bool hand_over();
  void run();
  void stop();
  int write_out(const Bytes& bytes);
  bool is_there(const char* bytes, std::size_t size);

  int file_;
  OldContent old_;
  Bytes filling_;
  std::int64_t written_ = 0;  // where the next bytes go; of the thread while it runs, like this:
  Bytes read_;

  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::deque<Bytes> waiting_;
  std::vector<Bytes> empty_;
  bool is_done_ = false;
  int error_ = 0;
  std::thread thread_;
};

}  // namespace normtweak
