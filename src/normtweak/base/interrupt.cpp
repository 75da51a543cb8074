#include "normtweak/base/interrupt.h"

#include <array>
#include <csignal>

namespace normtweak {
namespace {

constexpr std::array<int, 2> kSignals = {SIGINT, SIGTERM};
volatile std::sig_atomic_t noted = 0;

extern "C" void note_signal(int signal) {
  noted = 1;
  std::signal(signal, SIG_DFL);
}

}  // namespace

InterruptScope::InterruptScope() {
  noted = 0;
  for (const int signal : kSignals) {
    if (std::signal(signal, &note_signal) == SIG_IGN) std::signal(signal, SIG_IGN);  // as under nohup
  }
}

InterruptScope::~InterruptScope() {
  for (const int signal : kSignals) {
    if (std::signal(signal, SIG_DFL) == SIG_IGN) std::signal(signal, SIG_IGN);
  }
}

bool InterruptScope::requested() const { return noted != 0; }

}  // namespace normtweak
