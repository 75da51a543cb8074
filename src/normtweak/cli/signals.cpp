#include "normtweak/cli/signals.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "normtweak/base/files/temporary_path.h"
#include "normtweak/cli/job.h"

namespace normtweak::cli {
namespace {

int to_thread = -1;  // write end of a pipe

// A signal handler must not touch files; it only wakes a thread.
extern "C" void wake(int number) {
  const auto byte = static_cast<unsigned char>(number);
  const int kept = errno;
  [[maybe_unused]] const auto written = ::write(to_thread, &byte, 1);
  errno = kept;
}

void end_when_told(int from_handler) {
  unsigned char number = 0;
  while (::read(from_handler, &number, 1) != 1) {
    if (errno != EINTR) return;
  }
  remove_temporary_paths();
  if (number == SIGINT && is_first_process()) {
    constexpr std::string_view kLine = "normtweak: interrupted; what was not finished has been removed\n";
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, kLine.data(), kLine.size());
  }
  std::signal(number, SIG_DFL);
  std::raise(number);
  std::_Exit(128 + number);  // PID 1 of a container survives signals that it raises
}

}  // namespace

void remove_temporary_paths_on_signals() {
  std::signal(SIGXFSZ, SIG_IGN);
  std::array<int, 2> ends = {};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return;
  to_thread = ends[1];
  std::thread(end_when_told, ends[0]).detach();
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    if (std::signal(number, &wake) == SIG_IGN) std::signal(number, SIG_IGN);
  }
}

}  // namespace normtweak::cli
