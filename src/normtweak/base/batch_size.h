// Rows in batches of about the same size.
#pragma once
#include <algorithm>
#include <cstdint>

namespace normtweak {

// Rows per batch if `fitting` of `all` fit at a time, at least one: 8 rows in batches of at most 5 are twice 4, not 5
// and 3.
inline std::int64_t even_batch_size(std::int64_t fitting, std::int64_t all) {
  const auto most = std::clamp<std::int64_t>(fitting, 1, all);
  const auto batches = (all + most - 1) / most;
  return (all + batches - 1) / batches;
}

}  // namespace normtweak
