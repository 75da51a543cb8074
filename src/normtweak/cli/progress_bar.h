// Progress on stderr: a bar redrawn in place on a terminal, an occasional line otherwise.
#pragma once
#include <chrono>
#include <string>

#include "normtweak/base/progress.h"

namespace normtweak::cli {

class ProgressBar : public ProgressSink {
 public:
  ProgressBar();
  ~ProgressBar() override;  // leaves an unfinished bar on a line of its own
  void report(const ProgressReport& report) override;
  void note(std::string_view line) override;

 private:
  bool terminal_;
  std::chrono::steady_clock::time_point last_ = {};
  std::string last_stage_;
};

}  // namespace normtweak::cli
