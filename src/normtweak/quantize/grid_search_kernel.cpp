#include "normtweak/quantize/grid_search_kernel.h"

namespace normtweak::quantize {
namespace {

// Each lane of a row's warp tries every 32nd candidate; the lanes then reduce to the best one.
constexpr const char* kSource = R"(
extern "C" __global__ void search_grids(const float* groups, const float* scales, const float* zeros, long long* best,
                                        long long rows, long long size, long long candidates, float top,
                                        int float_zeros) {
  const long long row = (long long)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (row >= rows) return;
  const float* group = groups + row * size;
  float least = __int_as_float(0x7f800000);
  int found = 0;
  for (int candidate = threadIdx.x % 32; candidate < candidates; candidate += 32) {
    const float scale = scales[candidate * rows + row], zero = zeros[candidate * rows + row];
    const float offset = float_zeros ? zero : 0, low = float_zeros ? 0 : -zero;
    float error = 0;
    for (long long k = 0; k < size; ++k) {
      const float step = fminf(fmaxf(group[k] / scale + offset, low), low + top);
      const float missed = fabsf((rintf(step) - offset) * scale - group[k]);
      error += exp2f(2.4f * log2f(missed));
    }
    if (error < least) {
      least = error;
      found = candidate;
    }
  }
  for (int distance = 16; distance > 0; distance /= 2) {
    const float other = __shfl_down_sync(0xffffffffu, least, distance);
    const int other_found = __shfl_down_sync(0xffffffffu, found, distance);
    if (other < least || (other == least && other_found < found)) {
      least = other;
      found = other_found;
    }
  }
  if (threadIdx.x % 32 == 0) best[row] = found;
}
)";

}  // namespace

CudaKernel& grid_search_kernel() {
  static CudaKernel kernel("search_grids", kSource);
  return kernel;
}

}  // namespace normtweak::quantize
