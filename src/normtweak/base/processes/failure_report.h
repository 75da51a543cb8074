// Ensures that the failure of a multi-process job is reported once, by the process that failed and not by those that
// fail because of it.
#pragma once
#include <memory>
#include <optional>
#include <string>

namespace normtweak {

// A key store shared by all processes of a job, hosted by one of them or by torchrun. Any call may throw.
class KeyStore {
 public:
  virtual ~KeyStore() = default;
  virtual bool is_first_to_put(const std::string& note) = 0;  // false if the note already existed
  virtual bool has(const std::string& note) = 0;
};

// Thread-safe. Nothing here throws: if the store is unreachable, every process reports for itself.
class FailureReport {
 public:
  FailureReport(std::shared_ptr<KeyStore> store, int rank, int size);

  // The message to print when this process fails by itself; nullopt if another one failed first.
  std::optional<std::string> of_failure(const std::string& message);

  // The message to print when this process loses the others or receives SIGTERM. Waits briefly for a note from each
  // process. Returns nullopt if one has reported a failure, or if a lower rank is to name the processes that left no
  // note.
  std::optional<std::string> of_loss(const std::string& message);

  void finished();  // the work is done; other processes will not report this one as missing

 private:
  std::string name(int rank) const;

  std::shared_ptr<KeyStore> store_;
  int rank_, size_;
};

}  // namespace normtweak
