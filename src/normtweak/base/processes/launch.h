// How this process was started: alone, or by torchrun as one of several.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>

namespace normtweak {

struct Launch {
  int rank = 0, size = 1;              // global rank, and number of processes on all machines
  int local_rank = 0, local_size = 1;  // the same on this machine
  std::string address;                 // host of the rendezvous store
  std::uint16_t port = 0;              // port of the store
  bool has_store = false;              // torchrun hosts the store; otherwise rank 0 does
  std::string attempt = "0";           // restart count; torchrun may restart the processes
  std::chrono::seconds timeout{1800};  // for one exchange; set by NORMTWEAK_TIMEOUT
};

// From RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT. If the LOCAL_ variables are
// missing, all processes are assumed to be on this machine. Without WORLD_SIZE, or if it is 1, there is one process.
// Throws Error naming a variable that is missing or not a number.
Launch launch_from_environment();

}  // namespace normtweak
