// Progress on stderr: a bar that is redrawn on a terminal, a line now and then elsewhere.
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
