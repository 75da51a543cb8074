#include "normtweak/quantize/channel_slices.h"

#include <ATen/Parallel.h>
#include <ATen/ThreadLocalState.h>

#include <algorithm>

namespace normtweak::quantize {

void for_each_slice(c10::Device device, std::int64_t channels, std::int64_t size,
                    const std::function<void(std::int64_t first, std::int64_t count)>& body) {
  const auto run = [&](std::int64_t first) { body(first, std::min(size, channels - first)); };
  if (!device.is_cpu()) {
    for (std::int64_t first = 0; first < channels; first += size) run(first);
    return;
  }
  const at::ThreadLocalState state;
  at::parallel_for(0, (channels + size - 1) / size, 1, [&](std::int64_t begin, std::int64_t end) {
    const at::ThreadLocalStateGuard guard(state);
    for (auto slice = begin; slice < end; ++slice) run(slice * size);
  });
}

}  // namespace normtweak::quantize
