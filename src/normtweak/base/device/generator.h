// Seeded random number generators.
#pragma once
#include <ATen/core/Generator.h>
#include <c10/core/Device.h>

#include <cstdint>

namespace normtweak {

// A generator on `device`, seeded with `seed`. It shares no state with other generators or the device's default one.
at::Generator make_generator(c10::Device device, std::uint64_t seed);

}  // namespace normtweak
