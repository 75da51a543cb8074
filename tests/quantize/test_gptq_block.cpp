#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
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

constexpr std::int64_t kGrids = 3;

ColumnGrids random_grids(std::int64_t columns, std::int64_t out, Grid grid) {
  const auto grid_of = at::randint(kGrids, {columns}, at::kInt);
  if (grid == Grid::codebooks) {
    return {.codebooks = std::get<0>(at::randn({kGrids, 16, out}).sort(1)).contiguous(), .grid_of = grid_of};
  }
  const bool float_zeros = grid == Grid::float_zeros;
  const auto zeros = float_zeros ? at::rand({kGrids, out}) * kTop : at::randint(0, 16, {kGrids, out}).to(at::kFloat);
  return {.scales = at::rand({kGrids, out}) * 0.2 + 0.1,
          .lowest = -zeros,
          .highest = kTop - zeros,
          .phase = float_zeros ? zeros.round() - zeros : at::Tensor(),
          .curve = grid == Grid::curve ? std::get<0>(at::randn({16}).mul_(5).sort()) : at::Tensor(),
          .grid_of = grid_of};
}

// descends: as coordinate descent calls it; otherwise as GPTQ does, for a first block if there is no pull.
GptqBlock random_block(std::int64_t columns, std::int64_t out, Grid grid, bool descends, bool pulled) {
  const auto weight = at::randn({columns, out});
  return {.weight = weight,
          .pull = pulled ? at::randn({columns, out}) * 0.1 : at::Tensor(),
          .grids = random_grids(columns, out, grid),
          .feedback = at::randn({columns, columns + 5}).mul_(0.1).slice(1, 2, columns + 2),  // of a larger matrix
          .steps = at::empty_like(weight),
          .errors = descends ? at::randn({columns, out}) : at::empty_like(weight),
          .values = descends ? weight + at::randn({columns, out}) * 0.1 : at::Tensor()};
}

// The same in double, as the header tells it, with the plain meaning of a step's grid: whole codes less the zero-point.
GptqBlock rounded_in_double(const GptqBlock& block) {
  auto plain = block;
  for (auto* tensor : {&plain.weight, &plain.pull, &plain.grids.scales, &plain.grids.lowest, &plain.grids.codebooks,
                       &plain.feedback, &plain.values}) {
    if (tensor->defined()) *tensor = tensor->to(at::kDouble);
  }
  plain.steps = at::zeros_like(plain.weight);
  const auto target = plain.pull.defined() ? plain.weight + plain.pull : plain.weight.clone();
  const auto rounded = at::zeros_like(plain.weight);
  const auto& before = plain.values.defined() ? plain.values : plain.weight;
  const auto columns = plain.weight.size(0);
  for (std::int64_t j = 0; j < columns; ++j) {
    const auto grid = plain.grids.grid_of[j].item<int>();
    if (plain.grids.codebooks.defined()) {
      const auto codebook = plain.grids.codebooks[grid];  // [16, out]
      const auto places = (target[j] - codebook).abs().argmin(0, /*keepdim=*/true);
      plain.steps[j].copy_(places[0]);
      rounded[j].copy_(codebook.gather(0, places)[0]);
    } else {
      const auto zero = -plain.grids.lowest[grid], scale = plain.grids.scales[grid];
      const auto wanted = target[j] / scale;
      if (block.grids.curve.defined()) {
        const auto curve = block.grids.curve.to(at::kDouble);
        plain.steps[j].copy_(curve.index_select(0, (wanted.unsqueeze(1) - curve).abs().argmin(1)));
      } else {
        plain.steps[j].copy_((wanted + zero).round().clamp(0, kTop) - zero);
      }
      rounded[j].copy_(plain.steps[j] * scale);
    }
    target.slice(0, j + 1) += plain.feedback[j].slice(0, j + 1).unsqueeze(1) * (before[j] - rounded[j]);
  }
  plain.errors = plain.values.defined() ? block.errors + plain.values - rounded : plain.weight - rounded;
  if (plain.values.defined()) plain.values = rounded;
  return plain;
}

GptqBlock on(c10::Device device, GptqBlock block) {
  for (auto* tensor :
       {&block.weight, &block.pull, &block.grids.scales, &block.grids.lowest, &block.grids.highest, &block.grids.phase,
        &block.grids.curve, &block.grids.codebooks, &block.grids.grid_of, &block.steps, &block.errors, &block.values}) {
    if (tensor->defined()) *tensor = tensor->to(device, tensor->scalar_type(), /*non_blocking=*/false, /*copy=*/true);
  }
  const auto columns = block.weight.size(0);
  auto wide = at::zeros({columns, columns + 5}, block.weight.options()).slice(1, 2, columns + 2);
  block.feedback = wide.copy_(block.feedback);  // keeps the stride between its rows
  return block;
}

double largest(const at::Tensor& difference) { return difference.abs().max().item<double>(); }

struct Shape {
  std::int64_t columns, out;
};

// Channels where F32 rounds some value to the other side than double does are left out: all after it differs then.
void check_rounding(c10::Device device, const GptqBlock& block) {
  const auto wanted = rounded_in_double(block);
  const auto given = on(device, block);
  round_block(given);
  const auto found = on(at::kCPU, given);
  const auto differs = (found.steps - wanted.steps).abs() > 1e-3;
  const auto agreeing = differs.any(0).logical_not().nonzero().squeeze(1);
  EXPECT_GT(agreeing.numel(), block.weight.size(1) * 8 / 10);
  const auto channels = [&agreeing](const at::Tensor& all) { return all.index_select(1, agreeing); };
  EXPECT_LT(largest(channels(found.steps - wanted.steps)), 1e-4);
  EXPECT_LT(largest(channels(found.errors - wanted.errors)), 1e-4);
  if (block.values.defined()) {
    EXPECT_LT(largest(channels(found.values - wanted.values)), 1e-4);
  }
}

TEST(GptqBlock, RoundsEachColumnWithTheErrorsOfThoseBefore) {
  for (const auto device : test::devices()) {
    EXPECT_EQ(slow_rounding_reason(device), "");
    for (const auto [columns, out] : {Shape{128, 48}, Shape{100, 16}, Shape{64, 144}, Shape{1, 32}}) {
      for (const auto grid : {Grid::whole_zeros, Grid::float_zeros, Grid::curve, Grid::codebooks}) {
        SCOPED_TRACE(device.str() + " " + std::to_string(columns) + " grid " + std::to_string(static_cast<int>(grid)));
        for (const bool descends : {false, true}) {
          for (const bool pulled : {false, true})
            check_rounding(device, random_block(columns, out, grid, descends, pulled));
        }
      }
    }
  }
}

}  // namespace
}  // namespace normtweak::quantize
