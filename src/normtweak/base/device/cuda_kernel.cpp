#include "normtweak/base/device/cuda_kernel.h"

#include <ATen/ops/empty.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "normtweak/base/device/library_symbol.h"
#include "normtweak/base/error.h"

namespace normtweak {
namespace {

// The functions used, as declared in the documentation of NVRTC (docs.nvidia.com/cuda/nvrtc) and of the driver API
// (docs.nvidia.com/cuda/cuda-driver-api). Handles are pointers, and status 0 means success.
struct Cuda {
  int (*nvrtc_create)(void** program, const char* source, const char* name, int headers,
                      const char* const* header_texts, const char* const* header_names);
  int (*nvrtc_compile)(void* program, int options, const char* const* option_texts);
  int (*nvrtc_log_size)(void* program, std::size_t* bytes);
  int (*nvrtc_log)(void* program, char* log);
  int (*nvrtc_binary_size)(void* program, std::size_t* bytes);
  int (*nvrtc_binary)(void* program, char* binary);
  int (*nvrtc_destroy)(void** program);
  int (*device_attribute)(int* value, int attribute, int device);
  int (*load_module)(void** module, const void* binary);
  int (*find_function)(void** function, void* module, const char* name);
  int (*launch)(void* function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z, unsigned int block_x,
                unsigned int block_y, unsigned int block_z, unsigned int shared_bytes, void* stream, void** parameters,
                void** extra);
};

constexpr int kCapabilityMajor = 75, kCapabilityMinor = 76;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*

// torch's own stub library for NVRTC and the driver. It links the versions that this torch was built for and knows
// where they are; symbols are resolved through it. Never closed, since kernels stay loaded.
const Cuda* load_cuda() {
  void* library = ::dlopen("libcaffe2_nvrtc.so", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return nullptr;
  static Cuda cuda = {};
  const bool complete = find_symbol(library, "nvrtcCreateProgram", cuda.nvrtc_create) &&
                        find_symbol(library, "nvrtcCompileProgram", cuda.nvrtc_compile) &&
                        find_symbol(library, "nvrtcGetProgramLogSize", cuda.nvrtc_log_size) &&
                        find_symbol(library, "nvrtcGetProgramLog", cuda.nvrtc_log) &&
                        find_symbol(library, "nvrtcGetCUBINSize", cuda.nvrtc_binary_size) &&
                        find_symbol(library, "nvrtcGetCUBIN", cuda.nvrtc_binary) &&
                        find_symbol(library, "nvrtcDestroyProgram", cuda.nvrtc_destroy) &&
                        find_symbol(library, "cuDeviceGetAttribute", cuda.device_attribute) &&
                        find_symbol(library, "cuModuleLoadData", cuda.load_module) &&
                        find_symbol(library, "cuModuleGetFunction", cuda.find_function) &&
                        find_symbol(library, "cuLaunchKernel", cuda.launch);
  return complete ? &cuda : nullptr;
}

const Cuda* cuda_libraries() {
  static const Cuda* const cuda = load_cuda();
  return cuda;
}

// Owns an NVRTC program.
class Program {
 public:
  Program(const Cuda& cuda, const char* name, const char* source) : cuda_(cuda) {
    if (cuda.nvrtc_create(&program_, source, name, 0, nullptr, nullptr) != 0) fail("NVRTC does not start");
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() { cuda_.nvrtc_destroy(&program_); }

  std::string compile(int major, int minor) {
    const auto architecture = fmt::format("--gpu-architecture=sm_{}{}", major, minor);
    const std::array options = {architecture.c_str()};
    if (cuda_.nvrtc_compile(program_, static_cast<int>(options.size()), options.data()) != 0) {
      auto message = log();
      std::ranges::replace(message, '\n', ' ');
      fail("NVRTC does not compile for a GPU of compute capability {}.{}: {}", major, minor, message);
    }
    return text(cuda_.nvrtc_binary_size, cuda_.nvrtc_binary);
  }

 private:
  std::string log() const {
    auto text_of_log = text(cuda_.nvrtc_log_size, cuda_.nvrtc_log);
    return text_of_log.substr(0, text_of_log.find('\0'));
  }

  std::string text(int (*size)(void*, std::size_t*), int (*copy)(void*, char*)) const {
    std::size_t bytes = 0;
    size(program_, &bytes);
    std::string found(bytes, '\0');
    copy(program_, found.data());
    return found;
  }

  const Cuda& cuda_;
  void* program_ = nullptr;
};

// The CUfunction.
void* load_function(const char* name, const char* source, c10::Device device) {
  const auto* cuda = cuda_libraries();
  if (cuda == nullptr) fail("this torch comes without NVRTC");
  at::empty({1}, device);  // makes torch's CUDA context current in this thread, if none is yet
  int major = 0, minor = 0;
  cuda->device_attribute(&major, kCapabilityMajor, device.index());
  cuda->device_attribute(&minor, kCapabilityMinor, device.index());
  const auto binary = Program(*cuda, name, source).compile(major, minor);
  void *module = nullptr, *function = nullptr;
  if (cuda->load_module(&module, binary.data()) != 0 || cuda->find_function(&function, module, name) != 0) {
    fail("the driver does not load what NVRTC compiled");
  }
  return function;
}

}  // namespace

const CudaKernel::Compiled& CudaKernel::compiled_for(c10::Device device) {
  const std::scoped_lock lock(mutex_);
  const auto found = std::ranges::find(compiled_, device, &Compiled::device);
  if (found != compiled_.end()) return *found;
  try {
    return compiled_.emplace_back(device, load_function(name_, source_, device), "");
  } catch (const Error& error) {
    return compiled_.emplace_back(device, nullptr, error.what());
  } catch (const c10::OutOfMemoryError&) {
    throw;  // may be transient
  } catch (const c10::Error& error) {
    // torch has no such device
    return compiled_.emplace_back(device, nullptr, error.what_without_backtrace());
  }
}

std::string CudaKernel::unavailable(c10::Device device) { return compiled_for(device).unavailable; }

void CudaKernel::launch(c10::Device device, unsigned int blocks, unsigned int threads_per_block,
                        std::span<void*> arguments) {
  const auto& compiled = compiled_for(device);
  if (compiled.function == nullptr) fail("{}: {}", name_, compiled.unavailable);
  void* stream = c10::impl::VirtualGuardImpl(device.type()).getStream(device).native_handle();
  const auto status = cuda_libraries()->launch(compiled.function, blocks, 1, 1, threads_per_block, 1, 1, 0, stream,
                                               arguments.data(), nullptr);
  if (status != 0) fail("{}: CUDA refuses to launch it, with error {}", name_, status);
}

}  // namespace normtweak
