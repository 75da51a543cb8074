#include "normtweak/quantize/gptq_block_kernel.h"

#include "normtweak/quantize/gptq_block.h"

namespace normtweak::quantize {
namespace {

static_assert(kRoundedColumns == 4 * kWarp, "the kernel's kHeld");

// A lane holds every 32nd column of its warp's channel in registers. In each step all lanes round their value, and the
// lane that owns the current column broadcasts its error; the other lanes' results are discarded and recomputed in
// their own step.
constexpr const char* kSource = R"(
constexpr int kHeld = 4;  // columns held by a lane: kRoundedColumns / 32

constexpr int kCurveSize = 16;

// The entry of the curve that is nearest; the lower one in the middle of two.
__device__ float on_curve(const float* curve, float step) {
  float nearest = curve[0];
  for (int i = 1; i < kCurveSize; ++i) nearest = step > (curve[i - 1] + curve[i]) / 2 ? curve[i] : nearest;
  return nearest;
}

// The place of the entry of a channel's codebook that is nearest; the lower one in the middle of two.
__device__ int in_codebook(const float* codebook, int entries, int out, float wanted) {
  int place = 0;
  for (int half = entries / 2; half > 0; half /= 2) {
    const float* next = codebook + (long long)(place + half) * out;
    if (wanted > (next[-out] + next[0]) * 0.5f) place += half;
  }
  return place;
}

extern "C" __global__ void round_gptq_block(const float* weight, const float* pull, const float* scales,
                                            const float* lowest, const float* highest, const float* phase,
                                            const float* curve, const float* codebooks, const int* grid_of,
                                            const float* feedback, float* steps, float* errors, float* values,
                                            int columns, int out, int entries, int feedback_stride) {
  const int lane = threadIdx.x % 32;
  const int channel = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (channel >= out) return;

  float value[kHeld], original[kHeld], scale[kHeld], low[kHeld], high[kHeld], offset[kHeld], step[kHeld], error[kHeld];
  const float* codebook[kHeld];
  #pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    const int column = i * 32 + lane;
    const long long at = (long long)column * out + channel;
    const bool inside = column < columns;
    const long long grid = inside ? grid_of[column] : 0;
    const long long of_grid = grid * out + channel;
    const float own = inside ? weight[at] : 0;
    value[i] = inside && pull ? own + pull[at] : own;
    original[i] = inside && values ? values[at] : own;
    scale[i] = inside && scales ? scales[of_grid] : 1;
    low[i] = inside && lowest ? lowest[of_grid] : 0;
    high[i] = inside && highest ? highest[of_grid] : 0;
    codebook[i] = codebooks ? codebooks + grid * entries * out + channel : 0;
    offset[i] = inside && phase ? phase[of_grid] : 0;
  }

  #pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    for (int turn = 0; turn < 32 && i * 32 + turn < columns; ++turn) {
      const int j = i * 32 + turn;
      float nearest, left;
      if (codebooks) {
        const int place = in_codebook(codebook[i], entries, out, value[i]);
        nearest = place;
        left = original[i] - codebook[i][(long long)place * out];
      } else {
        const float wanted = value[i] / scale[i];
        const float clamped = fminf(fmaxf(wanted, low[i]), high[i]);
        nearest = curve ? on_curve(curve, wanted) : rintf(clamped - offset[i]) + offset[i];
        left = original[i] - nearest * scale[i];
      }
      if (lane == turn) {
        step[i] = nearest;
        error[i] = left;
      }
      const float passed_on = __shfl_sync(0xffffffffu, left, turn);
      #pragma unroll
      for (int m = i; m < kHeld; ++m) {
        const int column = m * 32 + lane;
        if (column > j && column < columns) value[m] += passed_on * feedback[j * feedback_stride + column];
      }
    }
  }

  #pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    const int column = i * 32 + lane;
    if (column >= columns) continue;
    const long long at = (long long)column * out + channel;
    steps[at] = step[i];
    errors[at] = values ? errors[at] + error[i] : error[i];
    if (values) values[at] = original[i] - error[i];
  }
}
)";

}  // namespace

CudaKernel& gptq_block_kernel() {
  static CudaKernel kernel("round_gptq_block", kSource);
  return kernel;
}

}  // namespace normtweak::quantize
