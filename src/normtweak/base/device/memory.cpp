#include "normtweak/base/device/memory.h"

#include <c10/core/AllocatorConfig.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <fstream>

#include "normtweak/base/device/control_group.h"
#include "normtweak/base/error.h"

namespace normtweak {
namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024, kMiB = 1024.0 * 1024;

struct Unit {
  std::string_view name;
  double bytes;
};
constexpr std::array<Unit, 11> kUnits = {{{"", 1},
                                          {"B", 1},
                                          {"K", 1024},
                                          {"KiB", 1024},
                                          {"KB", 1e3},
                                          {"M", kMiB},
                                          {"MiB", kMiB},
                                          {"MB", 1e6},
                                          {"G", kGiB},
                                          {"GiB", kGiB},
                                          {"GB", 1e9}}};

std::int64_t physical_memory() { return std::int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE); }

}  // namespace

std::int64_t parse_bytes(std::string_view size) {
  double number = 0;
  const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), number);
  auto unit = size.substr(static_cast<std::size_t>(end - size.data()));
  while (unit.starts_with(' ')) unit.remove_prefix(1);
  const auto* found = std::ranges::find(kUnits, unit, &Unit::name);
  const double bytes = found == kUnits.end() ? 0 : std::floor(number * found->bytes);
  const bool is_size = bytes >= 1 && bytes < 9e18;  // false for NaN
  if (error != std::errc() || !is_size) {
    fail("{}: not a size of memory; write it as 16GiB, 800MiB or 16GB", size);
  }
  return static_cast<std::int64_t>(bytes);
}

std::string bytes_text(std::int64_t bytes) {
  if (bytes < 1024) return fmt::format("{} bytes", bytes);
  const auto size = static_cast<double>(bytes);
  if (size < kMiB) return fmt::format("{:.0f} KiB", size / 1024);
  return size < kGiB ? fmt::format("{:.0f} MiB", size / kMiB) : fmt::format("{:.1f} GiB", size / kGiB);
}

std::int64_t available_memory(c10::Device device) {
  if (device.is_cpu()) return std::min(physical_memory(), group_memory().limit);
  return static_cast<std::int64_t>(c10::getDeviceAllocator(device.type())->getMemoryInfo(device.index()).first);
}

std::int64_t available_host_memory() {
  const auto of_group = group_memory().left;
  std::ifstream file("/proc/meminfo");
  std::string name, unit;
  for (std::int64_t kibibytes = 0; file >> name >> kibibytes; std::getline(file, unit)) {
    if (name == "MemAvailable:") return std::min(kibibytes * 1024, of_group);
  }
  return std::min(physical_memory(), of_group);
}

void limit_device_memory(c10::Device device, std::int64_t bytes) {
  if (device.is_cpu()) return;
  const auto total = c10::getDeviceAllocator(device.type())->getMemoryInfo(device.index()).second;
  const double share = std::min(1.0, static_cast<double>(bytes) / static_cast<double>(total));
  // The allocator reads this setting on first use; a direct call would need a CUDA header.
  c10::CachingAllocator::setAllocatorSettings(fmt::format("per_process_memory_fraction:{:.9f}", share));
}

void release_cached_memory(c10::Device device) {
  if (device.is_cpu()) return;
  auto* allocator = c10::getDeviceAllocator(device.type());
  if (allocator->initialized()) allocator->emptyCache();
}

void keep_freed_memory() {
#ifdef __GLIBC__
  constexpr int kMiBytes = 1 << 20;
  // Before glibc 2.35 the maximum is 32 MiB. Without a threshold, the other settings would give each tensor fresh
  // pages.
  if (::mallopt(M_MMAP_THRESHOLD, 128 * kMiBytes) == 0 && ::mallopt(M_MMAP_THRESHOLD, 32 * kMiBytes) == 0) return;
  ::mallopt(M_TRIM_THRESHOLD, -1);  // never
  ::mallopt(M_TOP_PAD, 64 * kMiBytes);
#endif
}

void return_freed_memory() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

}  // namespace normtweak
