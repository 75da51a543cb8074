// Profiles a run of the program from outside of it:
//
//     cmake --build build --target profile_program
//     KERNELS=kernels.md LD_PRELOAD=build/libprofile_program.so build/normtweak quantize ...
//
// writes the kernels that took the longest to the file KERNELS when the program ends. One run is one profile: run a
// stage of its own for the profile of a stage.
#include <dlfcn.h>

#include <cstdlib>
#include <fstream>

#include "kernel_table.h"

namespace normtweak {
namespace {

using Main = int (*)(int count, char** arguments, char** environment);
using StartMain = int (*)(Main main, int count, char** arguments, void (*begin)(), void (*end)(), void (*unload)(),
                          void* stack);

constexpr std::size_t kRows = 40;

Main& main_of_program() {
  static Main found = nullptr;
  return found;
}

int profiled_main(int count, char** arguments, char** environment) {
  start_profile();
  const int status = main_of_program()(count, arguments, environment);
  std::ofstream(std::getenv("KERNELS")) << kernel_table(kRows);
  return status;
}

}  // namespace
}  // namespace normtweak

// In the place of the C library's function that calls main(): torch's profiler cannot end later than that.
extern "C" __attribute__((visibility("default"))) int __libc_start_main(normtweak::Main main, int count,
                                                                        char** arguments, void (*begin)(),
                                                                        void (*end)(), void (*unload)(), void* stack) {
  const auto start = reinterpret_cast<normtweak::StartMain>(::dlsym(RTLD_NEXT, "__libc_start_main"));
  normtweak::main_of_program() = main;
  return start(std::getenv("KERNELS") != nullptr ? &normtweak::profiled_main : main, count, arguments, begin, end,
               unload, stack);
}
