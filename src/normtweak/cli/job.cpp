#include "normtweak/cli/job.h"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "normtweak/base/files/temporary_path.h"
#include "normtweak/base/processes/rendezvous.h"
#include "normtweak/base/strings/one_line.h"

namespace normtweak::cli {
namespace {

struct Job {
  Launch launch;
  std::optional<Rendezvous> rendezvous;  // with several processes
  std::atomic<bool> is_open = false;     // whether `rendezvous` may be used, for the watchdog thread
  Processes processes;                   // never destroyed: c10d's destructors may wait for processes that are gone
};

// Never destroyed: the watchdog thread may outlive static objects.
Job& job() {
  static auto* the_job = new Job;
  return *the_job;
}

void say(const std::optional<std::string>& words) {
  if (words) std::fprintf(stderr, "normtweak: %s\n", one_line(*words).c_str());
}

// Silent until the rendezvous store is open: whatever ends the job before that is reported by another process, or known
// to whoever ended it.
[[noreturn]] void leave(const std::string& why, int status) {
  if (job().is_open) say(job().rendezvous->failure_report().of_loss(why));
  remove_temporary_paths();
  std::fflush(nullptr);
  std::_Exit(status);
}

// The watchdog thread: ends this process on SIGTERM, or when an exchange takes too long. SIGTERM is blocked in the
// calling thread and so in all threads that start later.
void watch() {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::thread([signals] {
    constexpr timespec kSecond = {1, 0};
    while (true) {
      if (::sigtimedwait(&signals, nullptr, &kSecond) == SIGTERM) leave("told to end by SIGTERM", 128 + SIGTERM);
      const auto patience = job().launch.timeout;
      const bool is_late = job().is_open && job().rendezvous->waited() > patience;
      if (is_late) leave(fmt::format("no answer for {} s", patience.count()), 1);
    }
  }).detach();
}

}  // namespace

void begin_job() {
  job().launch = launch_from_environment();
  if (job().launch.size == 1) return;
  watch();  // before the rendezvous, which starts threads
  job().rendezvous.emplace(job().launch);
  job().is_open = true;
}

bool is_first_process() { return job().launch.rank == 0; }

std::optional<int> rank_on_machine() {
  return job().launch.size > 1 ? std::optional(job().launch.local_rank) : std::nullopt;
}

Processes connect_processes(c10::Device device) {
  if (job().rendezvous) job().processes = job().rendezvous->connect(device);
  return job().processes;
}

std::optional<std::string> failure_report(const std::string& message, bool lost) {
  if (!job().rendezvous) return message;
  auto words = job().rendezvous->failure_report();
  return lost ? words.of_loss(message) : words.of_failure(message);
}

int end_job(int status) {
  if (!job().rendezvous) return status;
  if (status == 0) job().rendezvous->failure_report().finished();
  std::fflush(nullptr);
  std::_Exit(status);
}

}  // namespace normtweak::cli
