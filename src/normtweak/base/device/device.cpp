#include "normtweak/base/device/device.h"

#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <cpuid.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdint>

#include "normtweak/base/device/type_name.h"
#include "normtweak/base/error.h"

namespace normtweak {
namespace {

struct FloatType {
  at::ScalarType type;
  std::string_view name, short_name;
};
constexpr std::array<FloatType, 3> kFloatTypes = {{
    {at::kFloat, "float32", "f32"},
    {at::kBFloat16, "bfloat16", "bf16"},
    {at::kHalf, "float16", "f16"},
}};

int count_gpus() { return at::hasCUDA() ? static_cast<int>(at::detail::getCUDAHooks().deviceCount()) : 0; }

// Of a thread that it puts to sleep; without that, a CPU's tiles cannot be used
// (https://docs.kernel.org/arch/x86/xstate.html).
bool system_saves_tiles() {
  constexpr int kGetSupported = 0x1021;  // ARCH_GET_XCOMP_SUPP, which a C library's headers may lack
  constexpr std::uint64_t kTiles = std::uint64_t{1} << 18U;
  std::uint64_t features = 0;
  return ::syscall(SYS_arch_prctl, kGetSupported, &features) == 0 && (features & kTiles) != 0;
}

c10::Device gpu_of_process(std::string_view name, int process, int gpus) {
  if (name.find(':') != std::string_view::npos) {
    fail("--device {}: names one GPU for all processes; with --device cuda each gets its own", name);
  }
  if (process >= gpus) {
    fail("process {} of this machine finds {} GPUs; start one process for each, or use --device cpu", process, gpus);
  }
  const c10::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(process));
  c10::impl::VirtualGuardImpl(at::kCUDA).setDevice(device);
  return device;
}

}  // namespace

c10::Device parse_device(std::string_view name) {
  try {
    const c10::Device device{std::string(name)};
    if (device.is_cpu() || device.is_cuda()) return device;
  } catch (const c10::Error&) {  // reported below
  }
  fail("{}: not a device; use cpu, cuda or cuda:N", name.empty() ? "an empty name" : name);
}

c10::Device choose_device(std::string_view name, std::optional<int> process) {
  const auto gpus = count_gpus();
  if (process && gpus > 0 && (name.empty() || name.starts_with("cuda"))) return gpu_of_process(name, *process, gpus);
  if (name.empty()) return gpus > 0 ? c10::Device(at::kCUDA, 0) : c10::Device(at::kCPU);
  auto device = parse_device(name);
  if (device.is_cpu()) return device;
  if (!device.has_index()) device.set_index(0);
  if (device.index() >= gpus) {
    fail(
        "--device {}: this machine shows {} CUDA devices to this build of torch; use --device cpu, or a torch with "
        "CUDA",
        name, gpus);
  }
  c10::impl::VirtualGuardImpl(at::kCUDA).setDevice(device);  // custom kernels run on this thread's current device
  return device;
}

bool has_fast_bf16(c10::Device device) {
  if (device.is_cuda()) return true;
  if (has_amx_bf16()) return true;
  unsigned int eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned int kAvx512Bf16 = 1U << 5;  // CPUID leaf 7, subleaf 1, EAX
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & kAvx512Bf16) != 0 && is_amd_cpu();
}

bool has_amx_bf16() {
  unsigned int eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned int kAmxBf16 = 1U << 22;  // CPUID leaf 7, EDX
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & kAmxBf16) != 0 && system_saves_tiles();
}

bool is_amd_cpu() {
  unsigned int eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(0, &eax, &ebx, &ecx, &edx) != 0 && ebx == signature_AMD_ebx;
}

at::ScalarType parse_float_type(std::string_view name) {
  for (const auto& row : kFloatTypes) {
    if (name == row.name || name == row.short_name) return row.type;
  }
  fail("{}: not a float type; use f32, bf16 or f16", name);
}

std::string_view float_type_name(at::ScalarType type) {
  if (type == at::kDouble) return "float64";  // read, never computed in or written
  for (const auto& row : kFloatTypes) {
    if (type == row.type) return row.name;
  }
  fail("{} is not a float type that models are stored in", type_name(type));
}

std::int64_t peak_memory_bytes(c10::Device device) {
  if (device.is_cuda()) {
    auto* allocator = c10::getDeviceAllocator(at::kCUDA);
    if (!allocator->initialized()) return 0;  // the device was chosen but never used
    const auto stats = allocator->getDeviceStats(device.index());
    return stats.allocated_bytes[static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak;
  }
  rusage usage = {};
  ::getrusage(RUSAGE_SELF, &usage);
  return std::int64_t{usage.ru_maxrss} * 1024;  // in KiB on Linux
}

}  // namespace normtweak
