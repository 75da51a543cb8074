#include "normtweak/tweak/code_positions_kernel.h"

#include <ATen/ops/mean.h>

#include <cstdint>
#include <limits>

#include "normtweak/base/device/cuda_kernel.h"
#include "normtweak/base/device/eight_floats.h"

namespace normtweak::tweak {
namespace {

// A thread for each row and each column.
constexpr const char* kDecaySource = R"(
extern "C" __global__ void decay_mean_squares(const float* root_rows, const float* root_columns, float* rows,
                                              float* columns, unsigned char* finite, float beta, unsigned int out,
                                              unsigned int in) {
  const unsigned int index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= out + in) return;
  const bool of_row = index < out;
  const float root = of_row ? root_rows[index] : root_columns[index - out];
  const float now = root * root / (of_row ? in : out);
  float* mean = of_row ? rows + index : columns + (index - out);
  *mean = *mean * beta + now * (1 - beta);
  if (of_row && !(now <= 3.402823466e38f)) *finite = 0;
}
)";

// A thread for eight neighbouring weights, whose codes are one word and whose fractions are two. `curve` has the codes
// of the grid's points unless these follow `first`.
constexpr const char* kMoveSource = R"(
typedef unsigned long long Word;

__device__ int point_of(int code, const unsigned char* curve, int first, int points) {
  if (!curve) return code - first;
  int point = 0;
  while (point + 1 < points && curve[point] < code) ++point;
  return point;
}

__device__ float distance_of(const Word* fractions, int k) {
  return (short)(fractions[k / 4] >> (16 * (k % 4)) & 0xffff) / 65534.0f;
}

__device__ int code_of(Word codes, int k) { return codes >> (8 * k) & 0xff; }

extern "C" __global__ void move_positions(const void* gradient, void* momentum, Word* codes, Word* fractions,
                                          const Word* first_codes, const Word* first_fractions, const float* rows,
                                          const float* columns, const float* mean, const unsigned char* finite,
                                          const unsigned char* curve, const float* factors, int first, int points,
                                          float beta, unsigned int eights, unsigned int eights_per_row, int type) {
  const unsigned int index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= eights) return;
  const float momentum_factor = factors[0], square_factor = factors[1], decay = factors[2];
  const float tiny = 1e-30f;  // so that weights which no token reached stay
  const float of_row = rsqrtf(fmaxf(rows[index / eights_per_row] / fmaxf(*mean, tiny), tiny)) * -momentum_factor;
  const Eight slope = load_eight(gradient, index, type), squares = load_eight(columns, index % eights_per_row, 0);
  Eight moved = load_eight(momentum, index, 2);
  const Word old_codes = codes[index];
  Word new_codes = 0, new_fractions[2] = {0, 0};
  const bool moves = *finite;
  for (int k = 0; k < 8; ++k) {
    moved.at[k] = moved.at[k] * beta + slope.at[k] * (1 - beta);
    float change = moved.at[k] * rsqrtf(fmaxf(squares.at[k] * square_factor, tiny)) * of_row;
    float position = distance_of(fractions + 2 * index, k) + point_of(code_of(old_codes, k), curve, first, points);
    if (first_codes) {
      change -= decay * (position - distance_of(first_fractions + 2 * index, k) -
                         point_of(code_of(first_codes[index], k), curve, first, points));
    }
    if (moves) position += change;
    position = fminf(fmaxf(position, -0.5f), points - 0.5f);
    const float point = fminf(fmaxf(rintf(position), 0.0f), points - 1.0f);
    const int code = curve ? curve[(int)point] : (int)point + first;
    new_codes |= (Word)code << (8 * k);
    new_fractions[k / 4] |= (Word)((int)rintf((position - point) * 65534.0f) & 0xffff) << (16 * (k % 4));
  }
  store_eight(momentum, index, 2, moved);
  codes[index] = new_codes;
  fractions[2 * index] = new_fractions[0];
  fractions[2 * index + 1] = new_fractions[1];
}
)";

CudaKernel& decay_kernel() {
  static CudaKernel kernel("decay_mean_squares", kDecaySource);
  return kernel;
}

CudaKernel& move_kernel() {
  static const auto source = with_eight_floats(kMoveSource);
  static CudaKernel kernel("move_positions", source.c_str());
  return kernel;
}

// Where positions decay toward one.
bool start_is_contiguous(const PositionState& state) {
  return !state.first_codes.defined() || (state.first_codes.is_contiguous() && state.first_fractions.is_contiguous());
}

}  // namespace

bool has_position_kernels(const PositionState& state, const at::Tensor& gradient) {
  const auto device = gradient.device();
  return device.is_cuda() && gradient.is_contiguous() && gradient.size(1) % kEight == 0 &&
         float_type_code(gradient.scalar_type()) && state.codes.is_contiguous() && state.fractions.is_contiguous() &&
         state.momentum.is_contiguous() && start_is_contiguous(state) &&
         gradient.numel() / kEight < std::numeric_limits<std::uint32_t>::max() &&
         decay_kernel().unavailable(device).empty() && move_kernel().unavailable(device).empty();
}

void move_positions_on_gpu(PositionState& state, const at::Tensor& gradient, const at::Tensor& root_rows,
                           const at::Tensor& root_columns, const PositionStep& step, at::Tensor& finite) {
  const auto device = gradient.device();
  const auto out = static_cast<unsigned int>(gradient.size(0)), in = static_cast<unsigned int>(gradient.size(1));
  const auto *of_rows = root_rows.const_data_ptr(), *of_columns = root_columns.const_data_ptr();
  auto *rows = state.rows.data_ptr(), *columns = state.columns.data_ptr(), *is_finite = finite.data_ptr();
  const auto beta2 = static_cast<float>(step.beta2);
  auto decayed = arguments_of(of_rows, of_columns, rows, columns, is_finite, beta2, out, in);
  decay_kernel().launch(device, blocks_of_eights(std::int64_t{out} + in), kThreadsOfEights, decayed);

  const auto mean_of_rows = state.rows.mean();
  const auto pointer = [](const at::Tensor& tensor) { return tensor.defined() ? tensor.const_data_ptr() : nullptr; };
  const auto *slopes = gradient.const_data_ptr(), *mean = mean_of_rows.const_data_ptr(),
             *first_codes = pointer(state.first_codes), *first_fractions = pointer(state.first_fractions),
             *curve = pointer(state.grid.codes), *factors = step.factors.const_data_ptr();
  auto *momentum = state.momentum.data_ptr(), *codes = state.codes.data_ptr(), *fractions = state.fractions.data_ptr();
  const auto beta1 = static_cast<float>(step.beta1);
  const auto eights = static_cast<unsigned int>(gradient.numel() / kEight),
             eights_per_row = static_cast<unsigned int>(in / kEight);
  const int type = *float_type_code(gradient.scalar_type());
  auto moved =
      arguments_of(slopes, momentum, codes, fractions, first_codes, first_fractions, rows, columns, mean, is_finite,
                   curve, factors, state.grid.first, state.grid.points, beta1, eights, eights_per_row, type);
  move_kernel().launch(device, blocks_of_eights(eights), kThreadsOfEights, moved);
}

}  // namespace normtweak::tweak
