// How this process was started: alone, or beside others by torchrun.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>

namespace normtweak {

struct Launch {
  int rank = 0, size = 1;              // this process, and how many there are on all machines
  int local_rank = 0, local_size = 1;  // among those of this machine
  std::string address;                 // where the processes find each other
  std::uint16_t port = 0;              // there
  bool has_store = false;              // torchrun serves that place itself; otherwise rank 0 does
  std::string attempt = "0";           // torchrun may start the processes anew
  std::chrono::seconds timeout{1800};  // of one exchange; NORMTWEAK_TIMEOUT changes it
};

// From RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT. Where those of this machine are not
// named, all processes are on it. Without WORLD_SIZE, or where that is 1, one process.
// Throws Error naming the variable that is missing or is no number.
Launch launch_from_environment();

}  // namespace normtweak
