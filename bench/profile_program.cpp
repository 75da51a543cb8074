// Profiles a run of the program from outside of it:
//
//     cmake --build build --target profile_program
//     KERNELS=kernels.md LD_PRELOAD=build/libprofile_program.so build/normtweak quantize ...
//
// writes the kernels that took the longest to the file KERNELS when the program ends. Recording begins before main(),
// so that one run is one profile; run a stage of its own for the profile of a stage.
#include <cstdlib>
#include <fstream>

#include "kernel_table.h"

namespace normtweak {
namespace {

constexpr std::size_t kRows = 40;

class ProfileOfProgram {
 public:
  ProfileOfProgram() : file_(std::getenv("KERNELS")) {
    if (file_ != nullptr) start_profile();
  }
  ProfileOfProgram(const ProfileOfProgram&) = delete;
  ProfileOfProgram& operator=(const ProfileOfProgram&) = delete;
  ~ProfileOfProgram() {
    if (file_ != nullptr) std::ofstream(file_) << kernel_table(kRows);
  }

 private:
  const char* file_;
};

const ProfileOfProgram profile_of_program;

}  // namespace
}  // namespace normtweak
