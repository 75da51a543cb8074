#include "normtweak/base/progress.h"

#include <exception>

namespace normtweak {

ProgressSink& silent_progress() {
  class Silent : public ProgressSink {
    void report(const ProgressReport&) override {}
    void note(std::string_view) override {}
  };
  static Silent silent;
  return silent;
}

Stage::Stage(ProgressSink& sink, std::string_view name, std::int64_t total, std::string_view unit)
    : sink_(sink), name_(name), unit_(unit), total_(total) {
  report(false);
}

Stage::~Stage() {
  if (std::uncaught_exceptions() == 0) report(true);  // failed work is not reported as finished
}

void Stage::advance(std::int64_t units, std::string_view detail) {
  done_ += units;
  detail_ = detail;
  report(false);
}

double Stage::seconds() const { return watch_.seconds(); }

void Stage::report(bool finished) { sink_.report({name_, done_, total_, unit_, detail_, seconds(), finished}); }

}  // namespace normtweak
