// Random numbers that a seed determines.
#pragma once
#include <ATen/core/Generator.h>
#include <c10/core/Device.h>

#include <cstdint>

namespace normtweak {

// A generator for draws on `device`, at the start of the sequence that belongs to `seed`. It shares no state with any
// other, nor with the device's default one.
at::Generator make_generator(c10::Device device, std::uint64_t seed);

}  // namespace normtweak
