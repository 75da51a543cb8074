// The job that this process belongs to: a single process, or several started by torchrun.
#pragma once
#include <c10/core/Device.h>

#include <optional>
#include <string>

#include "normtweak/base/processes/processes.h"

namespace normtweak::cli {

// Reads the environment. If torchrun started several processes, connects to the rendezvous store and starts a watchdog
// thread: this process ends when another one does not answer, and on SIGTERM, with which torchrun ends the others after
// a failure. Call it once, before any thread is started.
void begin_job();

bool is_first_process();               // rank 0, which prints and writes files
std::optional<int> rank_on_machine();  // local rank; nullopt for a single process

// Waits for the other processes. For a single process, returns a default-constructed Processes.
Processes connect_processes(c10::Device device);

// What to print if this process ends with `message`; nullopt if another process reports the failure. lost: the reason
// is the loss of another process.
std::optional<std::string> failure_report(const std::string& message, bool lost);

// Exits the program. With several processes it exits immediately, since no destructor may wait for another process.
int end_job(int status);

}  // namespace normtweak::cli
