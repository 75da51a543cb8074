// Handling of Ctrl-C and SIGTERM during work whose partial result is worth keeping.
#pragma once

namespace normtweak {

// While an InterruptScope exists, the first such signal is only recorded, and the work is expected to stop soon and
// keep its result so far. The next signal ends the process as usual, as does any signal outside such a scope. At most
// one scope at a time.
class InterruptScope {
 public:
  InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;
  ~InterruptScope();

  bool requested() const;
};

}  // namespace normtweak
