// Output channels, and the groups in them, are rounded each by itself: on a CPU a thread takes some at a time.
#pragma once
#include <cstdint>
#include <functional>

namespace normtweak::quantize {

// Calls body(first, count) for consecutive runs of at most `size` of `channels`, in any order and in several threads,
// with the grad and inference mode of the caller. The runs do not depend on the number of threads, nor do results.
void for_each_slice(std::int64_t channels, std::int64_t size,
                    const std::function<void(std::int64_t first, std::int64_t count)>& body);

}  // namespace normtweak::quantize
