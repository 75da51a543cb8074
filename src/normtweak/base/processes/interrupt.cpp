#include "normtweak/base/processes/interrupt.h"

#include <array>
#include <csignal>

namespace normtweak {
namespace {

constexpr std::array<int, 2> kSignals = {SIGINT, SIGTERM};
volatile std::sig_atomic_t noted = 0;
std::array<void (*)(int), kSignals.size()> before = {};  // handlers outside the scope

extern "C" void note_signal(int signal) {
  noted = 1;
  std::signal(signal, signal == kSignals[0] ? before[0] : before[1]);
}

}  // namespace

InterruptScope::InterruptScope() {
  noted = 0;
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    before[i] = std::signal(kSignals[i], &note_signal);
    if (before[i] == SIG_IGN) std::signal(kSignals[i], SIG_IGN);  // as under nohup
  }
}

InterruptScope::~InterruptScope() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) std::signal(kSignals[i], before[i]);
}

// Not static, so that it can only be called within a scope.
// NOLINTNEXTLINE(readability-convert-member-functions-to-static)
bool InterruptScope::requested() const { return noted != 0; }

}  // namespace normtweak
