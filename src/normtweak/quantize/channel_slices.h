// Output channels are rounded independently of each other: on a CPU each thread takes a slice at a time.
#pragma once
#include <c10/core/Device.h>

#include <cstdint>
#include <functional>

namespace normtweak::quantize {

// Calls body(first, count) for consecutive runs of at most `size` of `channels`: for tensors on a CPU in any order and
// in several threads, with the caller's grad and inference mode; on other devices one after the other. Neither the
// slices nor the results depend on the number of threads.
void for_each_slice(c10::Device device, std::int64_t channels, std::int64_t size,
                    const std::function<void(std::int64_t first, std::int64_t count)>& body);

}  // namespace normtweak::quantize
