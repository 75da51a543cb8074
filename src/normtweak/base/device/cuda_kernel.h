// A custom CUDA kernel, compiled at run time by NVRTC, the compiler library that ships with every CUDA build of torch.
// No CUDA toolkit is needed to build or to run the program.
#pragma once
#include <c10/core/Device.h>

#include <array>
#include <list>
#include <mutex>
#include <span>
#include <string>

namespace normtweak {

inline constexpr int kWarp = 32;  // threads that run in lockstep and can read each other's registers

// Pointers to the values of a kernel's parameters, in order, which must outlive them: as CudaKernel::launch() takes
// them.
template <class... Values>
std::array<void*, sizeof...(Values)> arguments_of(Values&... values) {
  return {const_cast<void*>(static_cast<const void*>(&values))...};
}

// For the few loops in which a chain of ATen operations would be bound by launch overhead. Thread-safe.
class CudaKernel {
 public:
  // source: CUDA C++ that defines `extern "C" __global__ void NAME(...)` and includes nothing. Both must outlive this.
  // Compiled for a device on its first use.
  CudaKernel(const char* name, const char* source) : name_(name), source_(source) {}

  // Why the kernel cannot run on this device (no NVRTC, or NVRTC does not support the GPU); "" if it can. The caller
  // then needs another way to do the work.
  std::string unavailable(c10::Device device);

  // Launches it on the device's current stream; the device must be the calling thread's current one. arguments:
  // pointers to the parameter values, in order. Throws Error if the driver refuses.
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
  std::list<Compiled> compiled_;  // one per device used; a list, so that addresses stay valid
};

}  // namespace normtweak
