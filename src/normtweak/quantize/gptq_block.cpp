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

struct Rows {
  float* target;
  const float *original, *scales, *lowest, *highest, *phase, *curve, *feedback;
  float *steps, *errors;
  std::int64_t columns, out;
};

// The entry of the curve that is nearest; the lower one in the middle of two.
NORMTWEAK_TARGET_CLONES void round_to_curve(const float* curve, const float* steps, float* nearest) {
  for (int lane = 0; lane < kRoundedLanes; ++lane) nearest[lane] = curve[0];
  for (int i = 1; i < kCurveSize; ++i) {
    const float middle = (curve[i - 1] + curve[i]) / 2, next = curve[i];
    for (int lane = 0; lane < kRoundedLanes; ++lane) nearest[lane] = steps[lane] > middle ? next : nearest[lane];
  }
}

NORMTWEAK_TARGET_CLONES void round_lanes(const Rows& rows, std::int64_t first) {
  alignas(64) float work[kRoundedColumns][kRoundedLanes];
  for (std::int64_t j = 0; j < rows.columns; ++j) {
    std::copy_n(rows.target + j * rows.out + first, kRoundedLanes, work[j]);
  }
  for (std::int64_t j = 0; j < rows.columns; ++j) {
    const auto at = j * rows.out + first;
    alignas(64) float error[kRoundedLanes], step[kRoundedLanes];
    for (int lane = 0; lane < kRoundedLanes; ++lane) step[lane] = work[j][lane] / rows.scales[at + lane];
    if (rows.curve != nullptr) {
      alignas(64) float nearest[kRoundedLanes];
      round_to_curve(rows.curve, step, nearest);
      std::copy_n(nearest, kRoundedLanes, step);
    } else {
      for (int lane = 0; lane < kRoundedLanes; ++lane) {
        const float inside = std::min(std::max(step[lane], rows.lowest[at + lane]), rows.highest[at + lane]);
        const float phase = rows.phase == nullptr ? 0 : rows.phase[at + lane];
        step[lane] = ((inside - phase + kRounder) - kRounder) + phase;
      }
    }
    for (int lane = 0; lane < kRoundedLanes; ++lane) {
      rows.steps[at + lane] = step[lane];
      error[lane] = rows.original[at + lane] - step[lane] * rows.scales[at + lane];
      rows.errors[at + lane] = error[lane];
    }
    const float* feedback = rows.feedback + j * rows.columns;
    for (std::int64_t k = j + 1; k < rows.columns; ++k) {
      for (int lane = 0; lane < kRoundedLanes; ++lane) work[k][lane] += error[lane] * feedback[k];
    }
  }
  for (std::int64_t j = 0; j < rows.columns; ++j) {
    std::copy_n(work[j], kRoundedLanes, rows.target + j * rows.out + first);
  }
}

void round_on_cpu(const GptqBlock& block) {
  const auto pointer = [](const at::Tensor& floats) {
    return floats.defined() ? floats.const_data_ptr<float>() : nullptr;
  };
  const Rows rows = {.target = block.target.data_ptr<float>(),
                     .original = block.original.const_data_ptr<float>(),
                     .scales = block.grids.scales.const_data_ptr<float>(),
                     .lowest = pointer(block.grids.lowest),
                     .highest = pointer(block.grids.highest),
                     .phase = pointer(block.grids.phase),
                     .curve = pointer(block.grids.curve),
                     .feedback = block.feedback.const_data_ptr<float>(),
                     .steps = block.steps.data_ptr<float>(),
                     .errors = block.errors.data_ptr<float>(),
                     .columns = block.target.size(0),
                     .out = block.target.size(1)};
  for (std::int64_t first = 0; first < rows.out; first += kRoundedLanes) round_lanes(rows, first);
}

void round_on_gpu(const GptqBlock& block) {
  const auto at = [](const at::Tensor& floats) { return floats.defined() ? floats.data_ptr() : nullptr; };
  std::array pointers = {at(block.target),        at(block.original),    at(block.grids.scales), at(block.grids.lowest),
                         at(block.grids.highest), at(block.grids.phase), at(block.grids.curve),  at(block.feedback),
                         at(block.steps),         at(block.errors)};
  auto columns = static_cast<int>(block.target.size(0)), out = static_cast<int>(block.target.size(1));
  std::vector<void*> arguments;
  for (auto& pointer : pointers) arguments.push_back(static_cast<void*>(&pointer));
  arguments.push_back(&columns);
  arguments.push_back(&out);
  const auto blocks = (out + kChannelsPerBlock - 1) / kChannelsPerBlock;
  gptq_block_kernel().launch(block.target.device(), static_cast<unsigned>(blocks), kChannelsPerBlock * kWarp,
                             arguments);
}

// Without a CUDA kernel.
void round_through_cpu(const GptqBlock& block) {
  const auto copied = [](const at::Tensor& floats) { return floats.defined() ? floats.cpu() : floats; };
  const GptqBlock on_cpu = {.target = copied(block.target),
                            .original = copied(block.original),
                            .grids = {.scales = copied(block.grids.scales),
                                      .lowest = copied(block.grids.lowest),
                                      .highest = copied(block.grids.highest),
                                      .phase = copied(block.grids.phase),
                                      .curve = copied(block.grids.curve)},
                            .feedback = copied(block.feedback),
                            .steps = copied(block.steps),
                            .errors = copied(block.errors)};
  round_on_cpu(on_cpu);
  block.target.copy_(on_cpu.target);
  block.steps.copy_(on_cpu.steps);
  block.errors.copy_(on_cpu.errors);
}

}  // namespace

void round_block(const GptqBlock& block) {
  const auto device = block.target.device();
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
