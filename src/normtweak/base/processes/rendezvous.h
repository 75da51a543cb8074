// Rendezvous of the processes of a job, and their communication: c10d collectives over NCCL between GPUs and over Gloo
// between CPUs.
#pragma once
#include <c10/core/Device.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>

#include "normtweak/base/processes/failure_report.h"
#include "normtweak/base/processes/launch.h"
#include "normtweak/base/processes/processes.h"

namespace normtweak {

class Rendezvous {
 public:
  // launch: with more than one process. Waits for the rendezvous store, at most launch.timeout; then throws LostProcess
  // naming its address.
  explicit Rendezvous(const Launch& launch);

  FailureReport failure_report() const;

  // Waits for the other processes. Throws Error in a build without Gloo's headers; a build without NCCL's uses Gloo
  // between GPUs as well. Here and in every exchange, throws LostProcess if another process is gone, or has not
  // answered for twice launch.timeout.
  Processes connect(c10::Device device) const;

  // How long the current exchange, or connect(), has been waiting for others; 0 between exchanges. For a watchdog
  // thread, since c10d's waits cannot always be interrupted.
  std::chrono::seconds waited() const;

 private:
  struct Stores;
  Launch launch_;
  std::shared_ptr<const Stores> stores_;
  std::shared_ptr<std::atomic<std::int64_t>> waiting_since_;  // ticks of the steady clock; 0: not waiting
};

}  // namespace normtweak
