#include "normtweak/cli/job.h"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "normtweak/base/meeting_place.h"
#include "normtweak/base/one_line.h"
#include "normtweak/base/unfinished.h"

namespace normtweak::cli {
namespace {

struct Job {
  Launch launch;
  std::optional<MeetingPlace> place;  // with several processes
  std::atomic<bool> is_open = false;  // whether `place` may be used, for the watchdog thread
  Processes processes;                // never destroyed: c10d's destructors may wait for processes that are gone
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
  if (job().is_open) say(job().place->last_words().of_loss(why));
  remove_unfinished();
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
      const bool is_late = job().is_open && job().place->waited() > patience;
      if (is_late) leave(fmt::format("no answer for {} s", patience.count()), 1);
    }
  }).detach();
}

}  // namespace

void begin_job() {
  job().launch = launch_from_environment();
  if (job().launch.size == 1) return;
  watch();  // before the meeting place, which starts threads
  job().place.emplace(job().launch);
  job().is_open = true;
}

bool is_first_process() { return job().launch.rank == 0; }

std::optional<int> rank_on_machine() {
  return job().launch.size > 1 ? std::optional(job().launch.local_rank) : std::nullopt;
}

Processes connect_processes(c10::Device device) {
  if (job().place) job().processes = job().place->connect(device);
  return job().processes;
}

std::optional<std::string> last_words(const std::string& message, bool lost) {
  if (!job().place) return message;
  auto words = job().place->last_words();
  return lost ? words.of_loss(message) : words.of_failure(message);
}

int end_job(int status) {
  if (!job().place) return status;
  if (status == 0) job().place->last_words().finished();
  std::fflush(nullptr);
  std::_Exit(status);
}

}  // namespace normtweak::cli
