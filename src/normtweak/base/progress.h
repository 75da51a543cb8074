// Progress of long work, reported to a sink; the library itself never prints.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "normtweak/base/stopwatch.h"

namespace normtweak {

struct ProgressReport {
  std::string_view stage;   // the current stage: "quantize", "generate"
  std::int64_t done = 0;    // units finished
  std::int64_t total = 0;   // total units; 0: unknown
  std::string_view unit;    // "blocks", "tokens"
  std::string_view detail;  // a few words about the current state: "KL 0.21"
  double seconds = 0;       // since the stage began
  bool finished = false;
};

class ProgressSink {
 public:
  virtual ~ProgressSink() = default;
  virtual void report(const ProgressReport& report) = 0;
  virtual void note(std::string_view line) = 0;  // a permanent line: a choice made, a warning
};

// A sink that drops everything.
ProgressSink& silent_progress();

// One stage of work, from construction to destruction. If an exception ends it, there is no final report.
class Stage {
 public:
  Stage(ProgressSink& sink, std::string_view name, std::int64_t total, std::string_view unit);
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;
  ~Stage();

  void advance(std::int64_t units, std::string_view detail = {});
  double seconds() const;

 private:
  void report(bool finished);

  ProgressSink& sink_;
  std::string name_, unit_, detail_;
  std::int64_t done_ = 0, total_;
  Stopwatch watch_;
};

}  // namespace normtweak
