// Ctrl-C and SIGTERM while work is under way that is worth keeping.
#pragma once

namespace normtweak {

// While one of these exists, the first such signal is only noted: the work is expected to stop soon, with what it has.
// The next one ends the process as usual, and so does the first outside of such a scope. At most one at a time.
class InterruptScope {
 public:
  InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;
  ~InterruptScope();

  bool requested() const;
};

}  // namespace normtweak
