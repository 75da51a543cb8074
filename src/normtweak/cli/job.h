// The job that this process is part of: itself alone, or the processes that torchrun started.
#pragma once
#include <c10/core/Device.h>

#include <optional>
#include <string>

#include "normtweak/base/processes.h"

namespace normtweak::cli {

// Reads the environment. Where torchrun started several processes, opens the place where they meet and keeps watch:
// this process ends when another one does not answer, and at SIGTERM, with which torchrun ends those that are left when
// one has failed. Called once, before any thread is started.
void begin_job();

bool is_first_process();               // this one talks and writes
std::optional<int> rank_on_machine();  // among several processes; nothing for one

// Waits for the other processes. One process alone: an object that stands for that.
Processes connect_processes(c10::Device device);

// What is to be printed where this process ends with `message`; nothing if another process says why the job ends.
// lost: the reason is the loss of another process.
std::optional<std::string> last_words(const std::string& message, bool lost);

// Ends the program. With several processes at once: nothing may wait for another process any more.
int end_job(int status);

}  // namespace normtweak::cli
