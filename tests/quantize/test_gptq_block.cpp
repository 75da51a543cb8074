#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "normtweak/quantize/gptq_block.h"
#include "support/devices.h"

namespace normtweak::quantize {
namespace {

constexpr double kTop = 15;  // of 4 bits

enum class Grid { whole_zeros, float_zeros, curve, codebooks };

constexpr std::int64_t kCodebooks = 3;

GptqBlock random_block(std::int64_t columns, std::int64_t out, Grid grid) {
  const bool float_zeros = grid == Grid::float_zeros;
  const auto weight = at::randn({columns, out});
  const auto scales = at::rand({columns, out}) * 0.2 + 0.1;
  const auto zeros = float_zeros ? at::rand({columns, out}) * kTop : at::randint(0, 16, {columns, out}).to(at::kFloat);
  if (grid == Grid::codebooks) {
    return {.target = weight + at::randn({columns, out}) * 0.1,
            .original = weight,
            .grids = {.codebooks = std::get<0>(at::randn({kCodebooks, 16, out}).sort(1)).contiguous(),
                      .codebook_of = at::randint(kCodebooks, {columns}, at::kInt)},
            .feedback = at::randn({columns, columns}) * 0.1,
            .steps = at::empty_like(weight),
            .errors = at::empty_like(weight)};
  }
  return {.target = weight + at::randn({columns, out}) * 0.1,
          .original = weight,
          .grids = {.scales = scales,
                    .lowest = -zeros,
                    .highest = kTop - zeros,
                    .phase = float_zeros ? zeros.round() - zeros : at::Tensor(),
                    .curve = grid == Grid::curve ? std::get<0>(at::randn({16}).mul_(5).sort()) : at::Tensor()},
          .feedback = at::randn({columns, columns}) * 0.1,
          .steps = at::empty_like(weight),
          .errors = at::empty_like(weight)};
}

// The same in double, as the header tells it, with the plain meaning of a step's grid: whole codes less the zero-point.
GptqBlock rounded_in_double(const GptqBlock& block) {
  auto plain = block;
  for (auto* tensor : {&plain.target, &plain.original, &plain.grids.scales, &plain.grids.lowest, &plain.grids.codebooks,
                       &plain.feedback}) {
    if (tensor->defined()) *tensor = tensor->to(at::kDouble);
  }
  plain.steps = at::zeros_like(plain.target);
  plain.errors = at::zeros_like(plain.target);
  const auto columns = plain.target.size(0);
  for (std::int64_t j = 0; j < columns; ++j) {
    if (plain.grids.codebooks.defined()) {
      const auto codebook = plain.grids.codebooks[plain.grids.codebook_of[j].item<int>()];  // [16, out]
      const auto places = (plain.target[j] - codebook).abs().argmin(0, /*keepdim=*/true);
      plain.steps[j].copy_(places[0]);
      plain.errors[j].copy_(plain.original[j] - codebook.gather(0, places)[0]);
      for (auto k = j + 1; k < columns; ++k) plain.target[k] += plain.errors[j] * plain.feedback[j][k];
      continue;
    }
    const auto zero = -plain.grids.lowest[j], scale = plain.grids.scales[j];
    const auto wanted = plain.target[j] / scale;
    if (block.grids.curve.defined()) {
      const auto curve = block.grids.curve.to(at::kDouble);
      plain.steps[j].copy_(curve.index_select(0, (wanted.unsqueeze(1) - curve).abs().argmin(1)));
    } else {
      plain.steps[j].copy_((wanted + zero).round().clamp(0, kTop) - zero);
    }
    plain.errors[j].copy_(plain.original[j] - plain.steps[j] * scale);
    for (auto k = j + 1; k < columns; ++k) plain.target[k] += plain.errors[j] * plain.feedback[j][k];
  }
  return plain;
}

GptqBlock on(c10::Device device, GptqBlock block) {
  for (auto* tensor : {&block.target, &block.original, &block.grids.scales, &block.grids.lowest, &block.grids.highest,
                       &block.grids.phase, &block.grids.curve, &block.grids.codebooks, &block.grids.codebook_of,
                       &block.feedback, &block.steps, &block.errors}) {
    if (tensor->defined()) *tensor = tensor->to(device, tensor->scalar_type(), /*non_blocking=*/false, /*copy=*/true);
  }
  return block;
}

double largest(const at::Tensor& difference) { return difference.abs().max().item<double>(); }

struct Shape {
  std::int64_t columns, out;
};

// Channels where F32 rounds some value to the other side than double does are left out: all after it differs then.
TEST(GptqBlock, RoundsEachColumnWithTheErrorsOfThoseBefore) {
  for (const auto device : test::devices()) {
    EXPECT_EQ(slow_rounding_reason(device), "");
    for (const auto [columns, out] : {Shape{128, 48}, Shape{100, 16}, Shape{64, 144}, Shape{1, 32}}) {
      for (const auto grid : {Grid::whole_zeros, Grid::float_zeros, Grid::curve, Grid::codebooks}) {
        SCOPED_TRACE(device.str() + " " + std::to_string(columns) + " grid " + std::to_string(static_cast<int>(grid)));
        const auto block = random_block(columns, out, grid);
        const auto wanted = rounded_in_double(block);
        const auto given = on(device, block);
        round_block(given);
        const auto found = on(at::kCPU, given);

        const auto differs = (found.steps - wanted.steps).abs() > 1e-3;
        const auto agreeing = differs.any(0).logical_not().nonzero().squeeze(1);
        EXPECT_GT(agreeing.numel(), out * 8 / 10);
        const auto channels = [&agreeing](const at::Tensor& all) { return all.index_select(1, agreeing); };
        EXPECT_LT(largest(channels(found.steps - wanted.steps)), 1e-4);
        EXPECT_LT(largest(channels(found.errors - wanted.errors)), 1e-4);
        EXPECT_LT(largest(channels(found.target - wanted.target)), 1e-4);
      }
    }
  }
}

}  // namespace
}  // namespace normtweak::quantize
