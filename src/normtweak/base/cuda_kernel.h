// A CUDA kernel of our own, compiled on the machine that runs it by NVRTC, the compiler library that every torch for
// CUDA brings along: neither to build nor to run the program is a CUDA toolkit needed.
#pragma once
#include <c10/core/Device.h>

#include <list>
#include <mutex>
#include <span>
#include <string>

namespace normtweak {

inline constexpr int kWarp = 32;  // threads that run in step and can read each other's registers

// For a handful of kernels where a loop of ATen operations would spend its time on launching them. Used from any
// thread.
class CudaKernel {
 public:
  // source: CUDA C++ that defines `extern "C" __global__ void NAME(...)` and includes nothing. Both must outlive this.
  // It is compiled for a device when that is first asked for.
  CudaKernel(const char* name, const char* source) : name_(name), source_(source) {}

  // Why the device cannot have this kernel (no NVRTC, or it does not know the GPU), or "" where it can. The caller does
  // the same work in another way then.
  std::string unavailable(c10::Device device);

  // Enqueues it on the present stream of the device, which must be the calling thread's present one. arguments:
  // pointers to the values of the parameters, in their order. Throws Error if the driver refuses.
  void launch(c10::Device device, unsigned int blocks, unsigned int threads_per_block, std::span<void*> arguments);

 private:
  struct Compiled {
    c10::Device device;
    void* function;  // CUfunction
    std::string unavailable;
  };
  const Compiled& compiled_for(c10::Device device);

  const char* name_;
  const char* source_;
  std::mutex mutex_;
  std::list<Compiled> compiled_;  // one for each device asked for; they stay where they are
};

}  // namespace normtweak
