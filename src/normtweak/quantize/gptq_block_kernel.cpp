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

extern "C" __global__ void round_gptq_block(float* target, const float* original, const float* scales,
                                            const float* lowest, const float* highest, const float* phase,
                                            const float* curve, const float* codebooks, const int* codebook_of,
                                            const float* feedback, float* steps, float* errors, int columns, int out,
                                            int entries) {
  const int lane = threadIdx.x % 32;
  const int channel = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (channel >= out) return;

  float value[kHeld], weight[kHeld], scale[kHeld], low[kHeld], high[kHeld], offset[kHeld], step[kHeld], error[kHeld];
  const float* codebook[kHeld];
  #pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    const int column = i * 32 + lane;
    const long long at = (long long)column * out + channel;
    const bool inside = column < columns;
    value[i] = inside ? target[at] : 0;
    weight[i] = inside ? original[at] : 0;
    scale[i] = inside && scales ? scales[at] : 1;
    low[i] = inside && lowest ? lowest[at] : 0;
    high[i] = inside && highest ? highest[at] : 0;
    codebook[i] = codebooks ? codebooks + (long long)(inside ? codebook_of[column] : 0) * entries * out + channel : 0;
    offset[i] = inside && phase ? phase[at] : 0;
  }

  #pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    for (int turn = 0; turn < 32 && i * 32 + turn < columns; ++turn) {
      const int j = i * 32 + turn;
      float nearest, left;
      if (codebooks) {
        const int place = in_codebook(codebook[i], entries, out, value[i]);
        nearest = place;
        left = weight[i] - codebook[i][(long long)place * out];
      } else {
        const float wanted = value[i] / scale[i];
        const float clamped = fminf(fmaxf(wanted, low[i]), high[i]);
        nearest = curve ? on_curve(curve, wanted) : rintf(clamped - offset[i]) + offset[i];
        left = weight[i] - nearest * scale[i];
      }
      if (lane == turn) {
        step[i] = nearest;
        error[i] = left;
      }
      const float passed_on = __shfl_sync(0xffffffffu, left, turn);
      #pragma unroll
      for (int m = i; m < kHeld; ++m) {
        const int column = m * 32 + lane;
        if (column > j && column < columns) value[m] += passed_on * feedback[j * columns + column];
      }
    }
  }

  #pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    const int column = i * 32 + lane;
    if (column >= columns) continue;
    const long long at = (long long)column * out + channel;
    target[at] = value[i];
    steps[at] = step[i];
    errors[at] = error[i];
  }
}
)";

}  // namespace

CudaKernel& gptq_block_kernel() {
  static CudaKernel kernel("round_gptq_block", kSource);
  return kernel;
}

}  // namespace normtweak::quantize
