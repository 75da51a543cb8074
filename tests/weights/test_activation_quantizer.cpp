#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/fake_quantize_per_tensor_affine.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "normtweak/base/error.h"
#include "normtweak/weights/activation_quantizer.h"

namespace normtweak::weights {
namespace {

// The definition in F64, number by number.
double restated(double value, double scale, double zero, double least, double most) {
  return (std::nearbyint(std::clamp(value / scale + zero, least, most)) - zero) * scale;
}

struct Codes {
  int bits;
  bool symmetric;
};
constexpr Codes kCodes[] = {{8, true}, {8, false}, {4, true}, {4, false}};

TEST(ActivationQuantizer, EachTokenHasItsOwnRange) {
  for (const auto& [bits, symmetric] : kCodes) {
    SCOPED_TRACE(bits * 10 + static_cast<int>(symmetric));
    const auto x = at::randn({3, 4, 24}) * at::randn({3, 4, 1}).exp() + 0.3;
    const auto found = round_activations({.settings = {.bits = bits, .symmetric = symmetric}}, x);
    ASSERT_EQ(found.sizes(), x.sizes());
    const double least = -(1 << (bits - 1)), most = -least - 1;
    for (std::int64_t token = 0; token < 12; ++token) {
      const auto values = x.view({12, 24})[token], rounded = found.view({12, 24})[token];
      const double low = std::min(0.0, values.min().item<double>()), high = std::max(0.0, values.max().item<double>());
      const double scale = symmetric ? std::max(-low, high) / ((most - least) / 2) : (high - low) / (most - least);
      const double zero = symmetric ? 0 : std::nearbyint(std::clamp(least - low / scale, least, most));
      for (std::int64_t i = 0; i < 24; ++i) {
        const auto value = values[i].item<double>(), code = value / scale + zero;
        // The last bit decides, as where the largest value of a symmetric range is negative: -7.5.
        if (std::abs(code - std::floor(code) - 0.5) < 1e-4) continue;
        const auto expected = restated(value, scale, zero, least, most);
        EXPECT_NEAR(rounded[i].item<double>(), expected, 1e-5 * std::max(-low, high));
      }
    }
  }
}

TEST(ActivationQuantizer, GroupsOfATokenAreTokensOfTheirOwn) {
  const auto x = at::randn({5, 64});
  const ActivationQuantizer in_groups = {.settings = {.floats = true, .group_size = 16}};
  const ActivationQuantizer whole = {.settings = {.floats = true}};
  EXPECT_TRUE(at::equal(round_activations(in_groups, x), round_activations(whole, x.view({20, 16})).view({5, 64})));
}

TEST(ActivationQuantizer, StaticRangesAreThoseOfPyTorch) {
  constexpr float kScale = 0.0625F;  // a power of two, of which PyTorch's reciprocal is exact
  const auto x = at::randn({7, 33}) * 5;
  for (const auto& [bits, symmetric] : kCodes) {
    const int zero = symmetric ? 0 : 3, half = 1 << (bits - 1);
    const ActivationQuantizer quantizer = {
        .settings = {.bits = bits, .symmetric = symmetric, .dynamic = false}, .scale = kScale, .zero = zero};
    EXPECT_TRUE(at::equal(round_activations(quantizer, x),
                          at::fake_quantize_per_tensor_affine(x, kScale, zero, -half, half - 1)));
  }
}

TEST(ActivationQuantizer, TheGradientEndsWhereTheRangeDoes) {
  const auto x = (at::randn({7, 33}) * 5).requires_grad_();
  const ActivationQuantizer quantizer = {
      .settings = {.bits = 4, .symmetric = false, .dynamic = false}, .scale = 0.5F, .zero = -2};
  at::fake_quantize_per_tensor_affine(x, 0.5, -2, -8, 7).sum().backward();
  const auto within = within_range(quantizer, x);
  EXPECT_TRUE(at::equal(within.to(at::kFloat), x.grad()));
  EXPECT_TRUE(within.any().item<bool>() && !within.all().item<bool>());
}

TEST(ActivationQuantizer, ARangeGivesScaleAndZeroPoint) {
  const auto symmetric = with_range({.bits = 8, .dynamic = false}, -2.55F, 1, at::kFloat);
  EXPECT_FLOAT_EQ(symmetric.scale, 0.02F);
  EXPECT_EQ(symmetric.zero, 0);
  const auto asymmetric = with_range({.bits = 8, .symmetric = false, .dynamic = false}, -0.5F, 2.05F, at::kFloat);
  EXPECT_FLOAT_EQ(asymmetric.scale, 0.01F);
  EXPECT_EQ(asymmetric.zero, -78);
  const auto positive = with_range({.bits = 8, .symmetric = false, .dynamic = false}, 1, 2.55F, at::kFloat);
  EXPECT_EQ(positive.zero, -128);  // 0 is always in the range
  EXPECT_EQ(with_range({.bits = 8, .dynamic = false}, -1, 3, at::kHalf).scale,
            at::zeros({}).add(3 / 127.5).to(at::kHalf).item<float>());
  EXPECT_THROW(with_range({.bits = 8, .dynamic = false}, -1, 1e30F, at::kHalf), Error);
}

TEST(ActivationQuantizer, NothingButZeroStaysZero) {
  for (const auto& [bits, symmetric] : kCodes) {
    const auto x = at::zeros({2, 8});
    EXPECT_TRUE(at::equal(round_activations({.settings = {.bits = bits, .symmetric = symmetric}}, x), x));
  }
}

}  // namespace
}  // namespace normtweak::weights
