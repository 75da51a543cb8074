#include "normtweak/quantize/gptq_block.h"

#include <ATen/ops/addcmul.h>
#include <ATen/ops/div.h>

#include <algorithm>

#include "normtweak/base/for_each_cpu.h"

namespace normtweak::quantize {
namespace {

// Adding and taking off 1.5 * 2^23 rounds a float below 2^22 to the nearest whole number, halves to even, in two
// instructions that every CPU has as vectors.
constexpr float kRounder = 12582912.0F;

struct Rows {
  float* target;
  const float *original, *scales, *lowest, *highest, *phase, *feedback;
  float *steps, *errors;
  std::int64_t columns, out;
};

NORMTWEAK_FOR_EACH_CPU void round_lanes(const Rows& rows, std::int64_t first) {
  alignas(64) float work[kRoundedColumns][kRoundedLanes];
  for (std::int64_t j = 0; j < rows.columns; ++j) {
    std::copy_n(rows.target + j * rows.out + first, kRoundedLanes, work[j]);
  }
  for (std::int64_t j = 0; j < rows.columns; ++j) {
    const auto at = j * rows.out + first;
    alignas(64) float error[kRoundedLanes];
    for (int lane = 0; lane < kRoundedLanes; ++lane) {
      const float scale = rows.scales[at + lane];
      float step = work[j][lane] / scale;
      step = std::min(std::max(step, rows.lowest[at + lane]), rows.highest[at + lane]);
      const float phase = rows.phase == nullptr ? 0 : rows.phase[at + lane];
      step = ((step - phase + kRounder) - kRounder) + phase;
      rows.steps[at + lane] = step;
      error[lane] = rows.original[at + lane] - step * scale;
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
  const Rows rows = {.target = block.target.data_ptr<float>(),
                     .original = block.original.const_data_ptr<float>(),
                     .scales = block.scales.const_data_ptr<float>(),
                     .lowest = block.lowest.const_data_ptr<float>(),
                     .highest = block.highest.const_data_ptr<float>(),
                     .phase = block.phase.defined() ? block.phase.const_data_ptr<float>() : nullptr,
                     .feedback = block.feedback.const_data_ptr<float>(),
                     .steps = block.steps.data_ptr<float>(),
                     .errors = block.errors.data_ptr<float>(),
                     .columns = block.target.size(0),
                     .out = block.target.size(1)};
  for (std::int64_t first = 0; first < rows.out; first += kRoundedLanes) round_lanes(rows, first);
}

void round_by_columns(const GptqBlock& block) {
  const auto columns = block.target.size(0);
  for (std::int64_t j = 0; j < columns; ++j) {
    const auto target = block.target.select(0, j), scale = block.scales.select(0, j);
    auto step = block.steps.select(0, j), error = block.errors.select(0, j);
    at::div_out(step, target, scale).clamp_(block.lowest.select(0, j), block.highest.select(0, j));
    if (block.phase.defined()) step.sub_(block.phase.select(0, j));
    step.round_();
    if (block.phase.defined()) step.add_(block.phase.select(0, j));
    at::addcmul_out(error, block.original.select(0, j), step, scale, -1);
    const auto rest = columns - j - 1;
    if (rest > 0) block.target.narrow(0, j + 1, rest).addr_(block.feedback.select(0, j).narrow(0, j + 1, rest), error);
  }
}

}  // namespace

void round_block(const GptqBlock& block) { block.target.is_cpu() ? round_on_cpu(block) : round_by_columns(block); }

}  // namespace normtweak::quantize
