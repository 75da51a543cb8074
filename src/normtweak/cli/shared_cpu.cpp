#include "normtweak/cli/shared_cpu.h"

#include <ATen/Parallel.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

namespace normtweak::cli {
namespace {

// Threads of the whole system that run or would like to, this one included; 1 if the system does not say.
// /proc/loadavg: "0.20 0.18 0.12 2/80 11206", and the fourth is running/all.
int running_threads() {
  std::ifstream file("/proc/loadavg");
  std::string averages;
  int running = 0;
  for (int i = 0; i < 3; ++i) file >> averages;
  return file >> running ? std::max(running, 1) : 1;
}

// Those of other programs, as far as they run all the time.
int other_running_threads() {
  constexpr int kLooks = 4;
  constexpr auto kBetween = std::chrono::milliseconds(3);
  int least = running_threads();
  for (int look = 1; look < kLooks && least > 1; ++look) {
    std::this_thread::sleep_for(kBetween);
    least = std::min(least, running_threads());
  }
  return least - 1;
}

}  // namespace

void wait_passively_on_shared_cpu(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  const int threads = at::get_num_threads();
  if (threads <= 1) return;
  const double cores = std::max(1U, std::thread::hardware_concurrency());  // that this process may use
  const double all = std::max(1L, sysconf(_SC_NPROCESSORS_ONLN));
  const double others = other_running_threads() * std::min(1.0, cores / all);  // of those on all cores, the share here
  if (others + threads < cores + 1) return;
  if (getauxval(AT_BASE) == 0) return;  // started by name of the dynamic loader, which /proc/self/exe then is
  setenv("OMP_WAIT_POLICY", "PASSIVE", 1);
  execv("/proc/self/exe", argv);  // on failure the program goes on as it is
}

}  // namespace normtweak::cli
