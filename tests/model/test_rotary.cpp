#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <string>
#include <utility>

#include "normtweak/model/rotary.h"
#include "support/devices.h"
#include "support/explicit_model.h"

namespace normtweak::model {
namespace {

struct ScalingCase {
  const char* name;
  RotaryScaling scaling;
};
RotaryScaling scaling(RotaryScaling::Kind kind, double factor, double original_context = 0) {
  RotaryScaling made;
  made.kind = kind;
  made.factor = factor;
  made.original_context = original_context;
  return made;
}

const ScalingCase kScalings[] = {
    {"none", {}},
    {"linear", scaling(RotaryScaling::Kind::linear, 4)},
    {"llama3", scaling(RotaryScaling::Kind::llama3, 8, 256)},
};

// The frequency of pair `i`, as transformers' modeling_rope_utils.py has it.
double frequency(const Rotary& rotary, int i) {
  const auto& scaling = rotary.scaling;
  const double plain = std::pow(rotary.base, -2.0 * i / static_cast<double>(rotary.size));
  if (scaling.kind == RotaryScaling::Kind::none) return plain;
  if (scaling.kind == RotaryScaling::Kind::linear) return plain / scaling.factor;
  const double wavelength = 2 * std::numbers::pi / plain;
  if (wavelength < scaling.original_context / scaling.high_frequency) return plain;
  if (wavelength > scaling.original_context / scaling.low_frequency) return plain / scaling.factor;
  const double smooth = (scaling.original_context / wavelength - scaling.low_frequency) /
                        (scaling.high_frequency - scaling.low_frequency);
  return (1 - smooth) * plain / scaling.factor + smooth * plain;
}

TEST(Rotary, TableFollowsTheFormula) {
  Rotary rotary = {.size = 32, .base = 5000};
  for (const auto& row : kScalings) {
    SCOPED_TRACE(row.name);
    rotary.scaling = row.scaling;
    const auto table = make_rotary_table(rotary, 300, 300, at::kCPU);
    ASSERT_EQ(table.cosine.sizes(), (at::IntArrayRef{300, 16}));
    for (const int position : {0, 1, 17, 299}) {
      for (int i = 0; i < 16; ++i) {
        const double angle = position * frequency(rotary, i);
        const double tolerance = 1e-6 + angle * 5e-7;  // the angle is an F32 product, as it is in transformers
        EXPECT_NEAR(table.cosine[position][i].item<double>(), std::cos(angle), tolerance) << position << " " << i;
        EXPECT_NEAR(table.sine[position][i].item<double>(), std::sin(angle), tolerance) << position << " " << i;
      }
    }
  }
}

TEST(Rotary, AModelsTableGrowsWithItsPasses) {
  const Rotary rotary = {.size = 8};
  const GrowingRotaryTable growing(rotary, at::kCPU);
  const auto first = growing.for_length(5).cosine;
  ASSERT_GE(first.size(0), 5);
  for (const std::int64_t positions : {std::int64_t{1}, first.size(0), first.size(0) + 1, std::int64_t{10000}}) {
    const auto& table = growing.for_length(positions);
    ASSERT_GE(table.sine.size(0), positions);
    const auto expected = make_rotary_table(rotary, positions, positions, at::kCPU);
    EXPECT_TRUE(table.cosine.narrow(0, 0, positions).equal(expected.cosine));
    EXPECT_TRUE(table.sine.narrow(0, 0, positions).equal(expected.sine));
  }
  EXPECT_LT(growing.for_length(1).cosine.size(0), 100000);
}

// Against the formula in F64, on rows that lie apart as parts of a larger tensor do.
TEST(Rotary, RotatesPairsOfHalvesAndItsGradientBack) {
  constexpr std::int64_t kStart = 7;
  for (const auto device : test::devices()) {
    for (const auto& [head_size, rotated] : {std::pair<std::int64_t, std::int64_t>{8, 8}, {64, 64}, {80, 48}}) {
      SCOPED_TRACE(device.str() + ", " + std::to_string(rotated) + " of " + std::to_string(head_size));
      const auto table = make_rotary_table({.size = rotated}, 20, 20, device);
      const auto all = at::randn({2, 5, 9, head_size}).to(device);
      const auto heads = all.narrow(2, 3, 3).detach().requires_grad_(),
                 exact = heads.detach().to(at::kDouble).requires_grad_();
      const auto spread = [&](const at::Tensor& half) {  // [tokens, 1, rotated]
        const auto part = half.narrow(0, kStart, 5).to(at::kDouble);
        return at::cat({part, part}, -1).unsqueeze(1);
      };
      const auto turning = exact.narrow(-1, 0, rotated), half = turning.narrow(-1, 0, rotated / 2);
      const auto crossed = at::cat({-turning.narrow(-1, rotated / 2, rotated / 2), half}, -1);
      const auto turned = turning * spread(table.cosine) + crossed * spread(table.sine);
      const auto expected = at::cat({turned, exact.narrow(-1, rotated, head_size - rotated)}, -1);
      const auto found = rotate(heads, table, kStart);
      EXPECT_LT(tests::relative_error(found, expected), 1e-6);
      const auto direction = at::randn({2, 3, 5, head_size}).to(device).transpose(1, 2);
      found.backward(direction);
      expected.backward(direction.to(at::kDouble));
      EXPECT_LT(tests::relative_error(heads.grad(), exact.grad()), 1e-6);
      for (const auto type : {at::kBFloat16, at::kHalf}) {
        const auto small = heads.detach().to(type);
        const auto rounded = rotate(small, table, kStart);
        EXPECT_EQ(rounded.scalar_type(), type);
        EXPECT_LT(tests::relative_error(rounded, expected.detach()), 2.0 / 256);
      }
    }
  }
}

}  // namespace
}  // namespace normtweak::model
