// Devices that a test of numbers runs on.
#pragma once
#include <ATen/Context.h>
#include <c10/core/Device.h>

#include <vector>

namespace normtweak::test {

// The CPU, and a GPU where there is one.
inline std::vector<c10::Device> devices() {
  std::vector<c10::Device> found = {c10::Device(at::kCPU)};
  if (at::hasCUDA()) found.emplace_back(at::kCUDA, static_cast<c10::DeviceIndex>(0));
  return found;
}

}  // namespace normtweak::test
