#include <ATen/TensorOperators.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>

#include "normtweak/quantize/coordinate_descent.h"
#include "normtweak/quantize/rtn.h"
#include "support/devices.h"

namespace normtweak::quantize {
namespace {

constexpr std::int64_t kIn = 160, kOut = 24, kGroup = 32;
constexpr double kAdded = 0.02;

at::Tensor correlated_hessian() {
  const auto x = at::matmul(at::randn({800, kIn}), at::randn({kIn, kIn}) / std::sqrt(kIn) + at::eye(kIn));
  return at::matmul(x.t(), x) / 800;
}

weights::AffineWeight nearest(const at::Tensor& weight, int bits, bool float_zeros = false) {
  return quantize_rtn(weight, {.bits = bits, .group_size = kGroup, .float_zeros = float_zeros});
}

at::Tensor wide(const at::Tensor& tensor) { return tensor.cpu().to(at::kDouble); }

at::Tensor damped(const at::Tensor& hessian) {
  return wide(hessian) + kAdded * at::eye(kIn, at::TensorOptions(at::kDouble));
}

// [out]
at::Tensor channel_errors(const weights::AffineWeight& rounded, const at::Tensor& weight, const at::Tensor& hessian) {
  const auto error = wide(weight) - wide(weights::dequantize(rounded));
  return (at::matmul(error, damped(hessian)) * error).sum(1);
}

// One sweep over the codes as the header writes it, in F64, one weight at a time.
at::Tensor plain_sweep(const weights::AffineWeight& rounded, const at::Tensor& weight, const at::Tensor& hessian) {
  const auto h = damped(hessian), w = wide(weight), values = wide(weights::dequantize(rounded));
  auto codes = wide(rounded.codes);
  for (std::int64_t k = 0; k < kIn; ++k) {
    const auto others = at::matmul(w - values, h.select(1, k)) - (w - values).select(1, k) * h[k][k];
    const auto target = w.select(1, k) + others / h[k][k];
    const auto scale = wide(rounded.scales).select(1, k / kGroup), zero = wide(rounded.zeros).select(1, k / kGroup);
    const auto code = (target / scale + zero).round().clamp(0, (1 << rounded.bits) - 1);
    codes.select(1, k).copy_(code);
    values.select(1, k).copy_((code - zero) * scale);
  }
  return codes;
}

TEST(CoordinateDescent, ChoosesTheCodesOfThePlainSweep) {
  for (const auto& device : test::devices()) {
    for (const bool float_zeros : {false, true}) {
      const auto weight = at::randn({kOut, kIn}), hessian = correlated_hessian();
      const auto start = nearest(weight, 3, float_zeros);
      auto found = start;
      for (auto* part : {&found.codes, &found.scales, &found.zeros}) *part = part->to(device);
      descend(found, weight.to(device), hessian.to(device), kAdded, 1);
      auto fitted = start;  // the sweep over the codes follows the fit of the scales
      fitted.scales = found.scales.cpu();
      const auto expected = plain_sweep(fitted, weight, hessian);
      EXPECT_GT((wide(found.codes) == expected).to(at::kDouble).mean().item<double>(), 0.999) << device.str();
      EXPECT_LT((wide(found.codes) == wide(start.codes)).to(at::kDouble).mean().item<double>(), 0.95);
    }
  }
}

// A weight that lies on the grid of other scales: the turns find it again.
TEST(CoordinateDescent, FindsTheScalesOfAWeightOnAGrid) {
  const auto hessian = correlated_hessian();
  auto start = nearest(at::randn({kOut, kIn}), 4);
  start.scale_type = at::kFloat;
  const auto steps = wide(start.codes) - wide(start.zeros).repeat_interleave(kGroup, 1);
  const auto scales = wide(start.scales) * (1 + 0.1 * at::randn({kOut, kIn / kGroup}, at::kDouble).clamp(-2, 2));
  const auto weight = (steps * scales.repeat_interleave(kGroup, 1)).to(at::kFloat);
  auto found = start;
  descend(found, weight, hessian, kAdded, 12);
  EXPECT_LT(channel_errors(found, weight, hessian).sum().item<double>(),
            0.05 * channel_errors(start, weight, hessian).sum().item<double>());
}

TEST(CoordinateDescent, NeverMakesAChannelWorse) {
  for (const int bits : {2, 3, 4, 8}) {
    const auto weight = at::randn({kOut + 3, kIn}), hessian = correlated_hessian();
    auto rounded = nearest(weight, bits);
    auto before = channel_errors(rounded, weight, hessian);
    const auto first = before;
    for (int sweep = 0; sweep < 3; ++sweep) {
      descend(rounded, weight, hessian, kAdded, 1);
      const auto after = channel_errors(rounded, weight, hessian);
      EXPECT_LT((after / before).max().item<double>(), 1 + 1e-4) << bits << " bits, sweep " << sweep;
      before = after;
    }
    if (bits < 8) {
      EXPECT_LT(before.sum().item<double>(), 0.9 * first.sum().item<double>()) << bits;
    }
    EXPECT_EQ(wide(rounded.scales.to(at::kHalf)).sub(wide(rounded.scales)).abs().max().item<double>(), 0);
  }
}

TEST(CoordinateDescent, FitsScalesThatReadersLoadInAnotherType) {
  const auto weight = at::randn({kOut, kIn}), hessian = correlated_hessian();
  auto found = nearest(weight, 3);
  found.scales = found.scales.to(at::kBFloat16).to(at::kFloat);
  found.loaded_type = at::kBFloat16;
  const auto start = found.scales;
  descend(found, weight, hessian, kAdded, 2);
  EXPECT_FALSE(found.scales.equal(start));
  for (const auto type : {at::kHalf, at::kBFloat16}) {
    EXPECT_TRUE(found.scales.to(type).to(at::kFloat).equal(found.scales));
  }
}

// Columns that no token used, and channels of zeros, whose normal equations are singular.
TEST(CoordinateDescent, LeavesDeadColumnsAndEmptyChannelsAlone) {
  const auto weight = at::randn({kOut, kIn});
  weight.select(0, 5).zero_();
  const auto hessian = correlated_hessian();
  hessian.slice(0, 32, 64).zero_();
  hessian.slice(1, 32, 64).zero_();
  const auto start = nearest(weight, 3);
  auto found = start;
  descend(found, weight, hessian, kAdded, 2);
  const auto dead = [](const at::Tensor& codes) { return wide(codes).slice(1, 32, 64); };
  EXPECT_TRUE(dead(found.codes).equal(dead(start.codes)));
  EXPECT_TRUE(found.scales.select(1, 1).equal(start.scales.select(1, 1)));
  EXPECT_EQ(weights::dequantize(found).select(0, 5).abs().max().item<float>(), 0);
  EXPECT_TRUE(found.scales.isfinite().all().item<bool>());
}

}  // namespace
}  // namespace normtweak::quantize
