// Where the processes of a job find each other, and how they talk from then on: c10d's collectives, through NCCL
// between GPUs and through Gloo between CPUs.
#pragma once
#include <c10/core/Device.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>

#include "normtweak/base/last_words.h"
#include "normtweak/base/launch.h"
#include "normtweak/base/processes.h"

namespace normtweak {

class MeetingPlace {
 public:
  // launch: of several processes. Waits until the place is there, launch.timeout at most; throws LostProcess naming it.
  explicit MeetingPlace(const Launch& launch);

  LastWords last_words() const;

  // Waits for the other processes. Throws Error in a build without the headers of Gloo (or, between GPUs, of NCCL: then
  // Gloo serves there, too). Here and in every exchange, LostProcess if another one is gone, or has not answered for
  // twice launch.timeout.
  Processes connect(c10::Device device) const;

  // How long the present exchange, or connect(), has been waiting for others; 0 between exchanges. For another thread
  // that loses patience: what c10d waits in cannot always be left.
  std::chrono::seconds waited() const;

 private:
  struct Stores;
  Launch launch_;
  std::shared_ptr<const Stores> stores_;
  std::shared_ptr<std::atomic<std::int64_t>> waiting_since_;  // ticks of the steady clock; 0: not at all
};

}  // namespace normtweak
