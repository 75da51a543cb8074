// A Stage reports when it begins, at each step, and when it ends, also when it ends by an exception.
#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "normtweak/base/progress.h"

namespace normtweak {
namespace {

// Reports with texts of their own: those of a ProgressReport live only during the call.
struct Seen {
  std::string stage, unit, detail;
  std::int64_t done, total;
  bool finished;
  bool operator==(const Seen&) const = default;
};

class Recorder : public ProgressSink {
 public:
  void report(const ProgressReport& report) override {
    seen.push_back({std::string(report.stage), std::string(report.unit), std::string(report.detail), report.done,
                    report.total, report.finished});
    seconds.push_back(report.seconds);
  }
  void note(std::string_view line) override { notes.emplace_back(line); }

  std::vector<Seen> seen;
  std::vector<double> seconds;
  std::vector<std::string> notes;
};

TEST(Stage, ReportsItsBeginningStepsAndEnd) {
  Recorder sink;
  {
    Stage stage(sink, "quantize", 30, "blocks");
    stage.advance(1);
    stage.advance(2, "error 0.5");
    stage.advance(3);  // a detail belongs to its step
  }
  const std::vector<Seen> expected = {{"quantize", "blocks", "", 0, 30, false},
                                      {"quantize", "blocks", "", 1, 30, false},
                                      {"quantize", "blocks", "error 0.5", 3, 30, false},
                                      {"quantize", "blocks", "", 6, 30, false},
                                      {"quantize", "blocks", "", 6, 30, true}};
  EXPECT_EQ(sink.seen, expected);
}

TEST(Stage, TimeOnlyGrows) {
  Recorder sink;
  {
    Stage stage(sink, "generate", 0, "tokens");
    for (int i = 0; i < 3; ++i) stage.advance(1);
    EXPECT_GE(stage.seconds(), sink.seconds.back());
  }
  EXPECT_GE(sink.seconds.front(), 0);
  EXPECT_TRUE(std::is_sorted(sink.seconds.begin(), sink.seconds.end()));
}

// A user would read a last report as "done", and the error comes right after it.
TEST(Stage, IsNotFinishedWhereWorkFailed) {
  Recorder sink;
  EXPECT_THROW(
      {
        const Stage stage(sink, "tweak", 2, "steps");
        throw std::runtime_error("stop");
      },
      std::runtime_error);
  ASSERT_EQ(sink.seen.size(), 1U);
  EXPECT_FALSE(sink.seen.back().finished);
}

TEST(SilentProgress, TakesEverything) {
  Stage stage(silent_progress(), "evaluate", 1, "tokens");
  stage.advance(1);
  silent_progress().note("nothing is printed");
}

}  // namespace
}  // namespace normtweak
