#include "normtweak/quantize/grid_search.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "normtweak/base/device/target_clones.h"
#include "normtweak/quantize/grid_search_kernel.h"

namespace normtweak::quantize {
namespace {

constexpr int kLanes = kSearchedLanes;
constexpr float kErrorPower = 2.4F;   // the GPTQ code's `norm`
constexpr float kRounder = 12582912;  // 1.5 * 2^23: adding and subtracting it rounds, halves to even

struct Rows {
  const float *groups, *scales, *zeros;
  std::int64_t* best;
  std::int64_t rows, size, candidates;
  float top;
  bool float_zeros;
};

// x^2.4 of x > 0, as 2^(2.4 log2 x); pow() would dominate the search's time. Both polynomials are minimax fits, with
// errors of 2.5e-7 for log2(1 + f) / f with 1 + f in [1/√2, √2), and 8e-8 for 2^r with r in [-1/2, 1/2].
[[gnu::always_inline]] inline float power(float x) {
  const auto bits = std::bit_cast<std::int32_t>(x);
  const std::int32_t exponent = (bits - 0x3f3504f3) >> 23;  // by 1/√2
  const float f = std::bit_cast<float>(bits - exponent * (1 << 23)) - 1;
  float series = -0.14973131F;
  series = series * f + 0.23570886F;
  series = series * f - 0.24832312F;
  series = series * f + 0.28686899F;
  series = series * f - 0.36026344F;
  series = series * f + 0.48093116F;
  series = series * f - 0.72135246F;
  series = series * f + 1.4426949F;
  const float wanted = kErrorPower * (static_cast<float>(exponent) + series * f);

  const float whole = (wanted + kRounder) - kRounder;
  const float r = wanted - whole;
  float two_to_r = 0.001341F;
  two_to_r = two_to_r * r + 0.009676036F;
  two_to_r = two_to_r * r + 0.055502973F;
  two_to_r = two_to_r * r + 0.24022107F;
  two_to_r = two_to_r * r + 0.69314724F;
  two_to_r = two_to_r * r + 1.0000001F;
  return std::bit_cast<float>(std::bit_cast<std::int32_t>(two_to_r) + static_cast<std::int32_t>(whole) * (1 << 23));
}

// Bounds within which x^2.4 stays a normal number; errors outside them do not affect the comparison.
constexpr float kLeastError = 1e-15F, kMostError = 1e15F;

// values: [size, kLanes], the rows from `first` on; lanes past the end repeat the last row.
NORMTWEAK_TARGET_CLONES void search_lanes(const Rows& rows, std::int64_t first, const float* values) {
  alignas(64) std::array<float, kLanes> least, scale, offset, low, high, error;
  std::array<std::int64_t, kLanes> best = {};
  least.fill(std::numeric_limits<float>::infinity());
  const auto count = std::min<std::int64_t>(kLanes, rows.rows - first);
  for (std::int64_t candidate = 0; candidate < rows.candidates; ++candidate) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      const auto at = candidate * rows.rows + first + std::min(lane, count - 1);
      const float zero = rows.zeros[at];
      scale[lane] = rows.scales[at];
      offset[lane] = rows.float_zeros ? zero : 0;
      low[lane] = rows.float_zeros ? 0 : -zero;
      high[lane] = low[lane] + rows.top;
      error[lane] = 0;
    }
    for (std::int64_t k = 0; k < rows.size; ++k) {
      const float* value = values + k * kLanes;
      for (int lane = 0; lane < kLanes; ++lane) {
        const float step = std::clamp(value[lane] / scale[lane] + offset[lane], low[lane], high[lane]);
        const float rounded = (step + kRounder) - kRounder - offset[lane];
        const float missed = std::fabs(rounded * scale[lane] - value[lane]);
        error[lane] += power(std::min(std::max(kLeastError, missed), kMostError));
      }
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      best[lane] = error[lane] < least[lane] ? candidate : best[lane];
      least[lane] = std::min(error[lane], least[lane]);
    }
  }
  std::copy_n(best.begin(), count, rows.best + first);
}

Rows rows_of(const GridSearch& search, const at::Tensor& best) {
  return {.groups = search.groups.const_data_ptr<float>(),
          .scales = search.scales.const_data_ptr<float>(),
          .zeros = search.zeros.const_data_ptr<float>(),
          .best = best.data_ptr<std::int64_t>(),
          .rows = search.groups.size(0),
          .size = search.groups.size(1),
          .candidates = search.scales.size(0),
          .top = static_cast<float>((1 << search.bits) - 1),
          .float_zeros = search.float_zeros};
}

void search_on_cpu(const Rows& rows) {
  std::vector<float> values(static_cast<std::size_t>(rows.size * kLanes));
  for (std::int64_t first = 0; first < rows.rows; first += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      const float* row = rows.groups + std::min(first + lane, rows.rows - 1) * rows.size;
      for (std::int64_t k = 0; k < rows.size; ++k) values[static_cast<std::size_t>(k * kLanes + lane)] = row[k];
    }
    search_lanes(rows, first, values.data());
  }
}

void search_on_gpu(Rows rows, c10::Device device) {
  int float_zeros = rows.float_zeros ? 1 : 0;
  auto arguments = arguments_of(rows.groups, rows.scales, rows.zeros, rows.best, rows.rows, rows.size, rows.candidates,
                                rows.top, float_zeros);
  const auto blocks = (rows.rows + kSearchedRowsPerBlock - 1) / kSearchedRowsPerBlock;
  grid_search_kernel().launch(device, static_cast<unsigned>(blocks), kSearchedRowsPerBlock * kWarp, arguments);
}

}  // namespace

at::Tensor least_error(const GridSearch& search) {
  const auto device = search.groups.device();
  if (device.is_cuda() && grid_search_kernel().unavailable(device).empty()) {
    const auto best = at::empty({search.groups.size(0)}, search.groups.options().dtype(at::kLong));
    search_on_gpu(rows_of(search, best), device);
    return best;
  }
  const auto best = at::empty({search.groups.size(0)}, at::kLong);
  const GridSearch here = {.groups = search.groups.cpu(),
                           .scales = search.scales.cpu(),
                           .zeros = search.zeros.cpu(),
                           .bits = search.bits,
                           .float_zeros = search.float_zeros};
  search_on_cpu(rows_of(here, best));
  return best.to(device);
}

}  // namespace normtweak::quantize
