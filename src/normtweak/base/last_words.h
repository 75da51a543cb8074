// Why a job of several processes ends is said once: by the process that failed, not by those that it takes along.
#pragma once
#include <memory>
#include <optional>
#include <string>

namespace normtweak {

// Where all processes of a job can leave a note, as long as one of them, or torchrun, keeps it. All may throw.
class NoticeBoard {
 public:
  virtual ~NoticeBoard() = default;
  virtual bool is_first_to_put(const std::string& note) = 0;  // false if the note was there
  virtual bool has(const std::string& note) = 0;
};

// May be called from any thread. Nothing here throws: without the board every process speaks for itself.
class LastWords {
 public:
  LastWords(std::shared_ptr<NoticeBoard> board, int rank, int size);

  // What this process has to print when it fails by itself; nothing if another failed before.
  std::optional<std::string> of_failure(const std::string& message);

  // When it lost the others, or is told to end: it waits a moment for a note of each. Nothing if one has failed, or if
  // another process is to name those that left no note.
  std::optional<std::string> of_loss(const std::string& message);

  void finished();  // the work is done: this process will not be missed

 private:
  std::string name(int rank) const;

  std::shared_ptr<NoticeBoard> board_;
  int rank_, size_;
};

}  // namespace normtweak
