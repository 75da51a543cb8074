#include "normtweak/quantize/gptq_block.h"

#include <algorithm>
#include <array>
#include <vector>

#include "normtweak/base/device/target_clones.h"
#include "normtweak/quantize/gptq_block_kernel.h"

namespace normtweak::quantize {
namespace {

// Adding and subtracting 1.5 * 2^23 rounds a float below 2^22 to the nearest integer, halves to even, with two
// instructions that every CPU can vectorise.
constexpr float kRounder = 12582912.0F;

constexpr int kCurveSize = 16;

// The lanes of a column. Of plain loops over lanes within one over columns GCC makes registers of columns instead,
// which it shuffles from and to memory.
using Lanes [[gnu::vector_size(sizeof(float) * kRoundedLanes), gnu::may_alias]] = float;

struct Rows {
  const float *weight, *pull, *scales, *lowest, *highest, *phase, *curve, *codebooks;
  const int* grid_of;
  const float* feedback;
  float *steps, *errors, *values;
  std::int64_t columns, out, entries;
};

// The entry of the curve that is nearest; the lower one in the middle of two.
NORMTWEAK_TARGET_CLONES void round_to_curve(const float* curve, const float* steps, float* nearest) {
  for (int lane = 0; lane < kRoundedLanes; ++lane) nearest[lane] = curve[0];
  for (int i = 1; i < kCurveSize; ++i) {
    const float middle = (curve[i - 1] + curve[i]) / 2, next = curve[i];
    for (int lane = 0; lane < kRoundedLanes; ++lane) nearest[lane] = steps[lane] > middle ? next : nearest[lane];
  }
}

// The entry of each lane's codebook that is nearest; the lower one in the middle of two. An entry is `stride` floats
// after the one before it.
NORMTWEAK_TARGET_CLONES void round_to_codebook(const float* codebook, std::int64_t entries, std::int64_t stride,
                                               const float* wanted, float* place, float* value) {
  for (int lane = 0; lane < kRoundedLanes; ++lane) {
    place[lane] = 0;
    value[lane] = codebook[lane];
  }
  for (std::int64_t i = 1; i < entries; ++i) {
    const float *last = codebook + (i - 1) * stride, *next = codebook + i * stride;
    for (int lane = 0; lane < kRoundedLanes; ++lane) {
      const bool above = wanted[lane] > (last[lane] + next[lane]) * 0.5F;
      place[lane] = above ? static_cast<float>(i) : place[lane];
      value[lane] = above ? next[lane] : value[lane];
    }
  }
}

// at: of the column's grid.
NORMTWEAK_TARGET_CLONES void round_to_steps(const Rows& rows, std::int64_t at, const float* wanted, float* step) {
  for (int lane = 0; lane < kRoundedLanes; ++lane) step[lane] = wanted[lane] / rows.scales[at + lane];
  if (rows.curve != nullptr) {
    alignas(64) float nearest[kRoundedLanes];
    round_to_curve(rows.curve, step, nearest);
    std::copy_n(nearest, kRoundedLanes, step);
    return;
  }
  for (int lane = 0; lane < kRoundedLanes; ++lane) {
    const float inside = std::min(std::max(step[lane], rows.lowest[at + lane]), rows.highest[at + lane]);
    const float phase = rows.phase == nullptr ? 0 : rows.phase[at + lane];
    step[lane] = ((inside - phase + kRounder) - kRounder) + phase;
  }
}

NORMTWEAK_TARGET_CLONES void round_lanes(const Rows& rows, std::int64_t first) {
  alignas(64) float work[kRoundedColumns][kRoundedLanes];
  for (std::int64_t j = 0; j < rows.columns; ++j) {
    const auto at = j * rows.out + first;
    std::copy_n(rows.weight + at, kRoundedLanes, work[j]);
    if (rows.pull == nullptr) continue;
    for (int lane = 0; lane < kRoundedLanes; ++lane) work[j][lane] += rows.pull[at + lane];
  }
  const float* original = rows.values == nullptr ? rows.weight : rows.values;
  for (std::int64_t j = 0; j < rows.columns; ++j) {
    const auto at = j * rows.out + first;
    const std::int64_t grid = rows.grid_of[j];
    alignas(64) float error[kRoundedLanes], step[kRoundedLanes];
    if (rows.codebooks != nullptr) {
      alignas(64) float value[kRoundedLanes];
      const auto* codebook = rows.codebooks + grid * rows.entries * rows.out + first;
      round_to_codebook(codebook, rows.entries, rows.out, work[j], step, value);
      for (int lane = 0; lane < kRoundedLanes; ++lane) error[lane] = original[at + lane] - value[lane];
    } else {
      const auto of_grid = grid * rows.out + first;
      round_to_steps(rows, of_grid, work[j], step);
      for (int lane = 0; lane < kRoundedLanes; ++lane) {
        error[lane] = original[at + lane] - step[lane] * rows.scales[of_grid + lane];
      }
    }
    std::copy_n(step, kRoundedLanes, rows.steps + at);
    if (rows.values == nullptr) {
      std::copy_n(error, kRoundedLanes, rows.errors + at);
    } else {
      for (int lane = 0; lane < kRoundedLanes; ++lane) {
        rows.errors[at + lane] += error[lane];
        rows.values[at + lane] -= error[lane];
      }
    }
    const float* feedback = rows.feedback + j * rows.columns;
    const auto spread = *reinterpret_cast<const Lanes*>(error);
    for (std::int64_t k = j + 1; k < rows.columns; ++k) *reinterpret_cast<Lanes*>(work[k]) += spread * feedback[k];
  }
}

// Of a codebook; 0: there are none.
std::int64_t entries_of(const GptqBlock& block) {
  return block.grids.codebooks.defined() ? block.grids.codebooks.size(1) : 0;
}

void round_on_cpu(const GptqBlock& block) {
  const auto pointer = [](const at::Tensor& floats) {
    return floats.defined() ? floats.const_data_ptr<float>() : nullptr;
  };
  const auto feedback = block.feedback.contiguous();  // read for each of the lanes: rows apart would leave the cache
  const Rows rows = {.weight = block.weight.const_data_ptr<float>(),
                     .pull = pointer(block.pull),
                     .scales = pointer(block.grids.scales),
                     .lowest = pointer(block.grids.lowest),
                     .highest = pointer(block.grids.highest),
                     .phase = pointer(block.grids.phase),
                     .curve = pointer(block.grids.curve),
                     .codebooks = pointer(block.grids.codebooks),
                     .grid_of = block.grids.grid_of.const_data_ptr<int>(),
                     .feedback = feedback.const_data_ptr<float>(),
                     .steps = block.steps.data_ptr<float>(),
                     .errors = block.errors.data_ptr<float>(),
                     .values = block.values.defined() ? block.values.data_ptr<float>() : nullptr,
                     .columns = block.weight.size(0),
                     .out = block.weight.size(1),
                     .entries = entries_of(block)};
  for (std::int64_t first = 0; first < rows.out; first += kRoundedLanes) round_lanes(rows, first);
}

void round_on_gpu(const GptqBlock& block) {
  const auto at = [](const at::Tensor& floats) { return floats.defined() ? floats.data_ptr() : nullptr; };
  const auto& grids = block.grids;
  std::array pointers = {at(block.weight), at(block.pull),   at(grids.scales),    at(grids.lowest),  at(grids.highest),
                         at(grids.phase),  at(grids.curve),  at(grids.codebooks), at(grids.grid_of), at(block.feedback),
                         at(block.steps),  at(block.errors), at(block.values)};
  auto columns = static_cast<int>(block.weight.size(0)), out = static_cast<int>(block.weight.size(1)),
       entries = static_cast<int>(entries_of(block)), feedback_stride = static_cast<int>(block.feedback.stride(0));
  std::vector<void*> arguments;
  for (auto& pointer : pointers) arguments.push_back(static_cast<void*>(&pointer));
  arguments.push_back(&columns);
  arguments.push_back(&out);
  arguments.push_back(&entries);
  arguments.push_back(&feedback_stride);
  const auto blocks = (out + kChannelsPerBlock - 1) / kChannelsPerBlock;
  gptq_block_kernel().launch(block.weight.device(), static_cast<unsigned>(blocks), kChannelsPerBlock * kWarp,
                             arguments);
}

// Without a CUDA kernel.
void round_through_cpu(const GptqBlock& block) {
  const auto copied = [](const at::Tensor& floats) { return floats.defined() ? floats.cpu() : floats; };
  const GptqBlock on_cpu = {.weight = copied(block.weight),
                            .pull = copied(block.pull),
                            .grids = {.scales = copied(block.grids.scales),
                                      .lowest = copied(block.grids.lowest),
                                      .highest = copied(block.grids.highest),
                                      .phase = copied(block.grids.phase),
                                      .curve = copied(block.grids.curve),
                                      .codebooks = copied(block.grids.codebooks),
                                      .grid_of = copied(block.grids.grid_of)},
                            .feedback = copied(block.feedback),
                            .steps = copied(block.steps),
                            .errors = copied(block.errors),
                            .values = copied(block.values)};
  round_on_cpu(on_cpu);
  block.steps.copy_(on_cpu.steps);
  block.errors.copy_(on_cpu.errors);
  if (block.values.defined()) block.values.copy_(on_cpu.values);
}

}  // namespace

ColumnGrids ColumnGrids::for_columns(std::int64_t first, std::int64_t last) const {
  auto grids = *this;
  grids.grid_of = grid_of.slice(0, first, last);
  return grids;
}

void round_block(const GptqBlock& block) {
  const auto device = block.weight.device();
  if (device.is_cpu()) {
    round_on_cpu(block);
  } else if (device.is_cuda() && gptq_block_kernel().unavailable(device).empty()) {
    round_on_gpu(block);
  } else {
    round_through_cpu(block);
  }
}

std::string slow_rounding_reason(c10::Device device) {
  return device.is_cuda() ? gptq_block_kernel().unavailable(device) : "";
}

}  // namespace normtweak::quantize
