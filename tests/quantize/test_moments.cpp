#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

#include "normtweak/quantize/moments.h"
#include "normtweak/quantize/product_precision.h"
#include "support/devices.h"

namespace normtweak::quantize {
namespace {

at::Tensor in_f64(const at::Tensor& values) { return values.cpu().to(at::kDouble); }

double relative_error(const at::Tensor& found, const at::Tensor& left, const at::Tensor& right) {
  const auto expected = at::matmul(in_f64(left).t(), in_f64(right));
  return (in_f64(found) - expected).norm().item<double>() / expected.norm().item<double>();
}

// F32 sums over thousands of tokens: a few units in the last place, whichever way. One bf16 part would give 1e-3.
constexpr double kTolerance = 2e-6;

TEST(Moments, PartsHoldAllButTheLastBitsOfAValue) {
  const auto values = at::randn({1000, 10}) * at::randn({1000, 10}).exp();
  const auto parts = bf16_parts(values);
  ASSERT_EQ(parts.size(), 2U);
  auto sum = at::zeros({1000, 10}, at::kDouble);
  for (const auto& part : parts) {
    EXPECT_EQ(part.scalar_type(), at::kBFloat16);
    sum += in_f64(part);
  }
  const auto missing = ((sum - in_f64(values)) / in_f64(values)).abs().max().item<double>();
  EXPECT_LE(missing, std::ldexp(1.0, -17));
  EXPECT_GT(missing, std::ldexp(1.0, -23));  // a third part would be needed for all of it
  auto third = in_f64(values);
  for (const auto& part : bf16_parts(values, 3)) third -= in_f64(part);
  EXPECT_LE((third / in_f64(values)).abs().max().item<double>(), std::ldexp(1.0, -24));
  const auto short_values = values.to(at::kBFloat16);
  EXPECT_EQ(bf16_parts(short_values).size(), 1U);
  EXPECT_TRUE(bf16_parts(short_values).front().equal(short_values));
}

// What reaches a linear in the quantized model, and by how much the float model's input differs: the drift moment.
TEST(Moments, OfPartsAreAsExactAsF32Products) {
  for (const auto& device : test::devices()) {
    SCOPED_TRACE(device.str());
    const FullPrecisionProducts full_precision;
    const auto x = (at::randn({8000, 48}).add_(0.5) * at::randn({48}).exp()).to(at::kBFloat16);
    const auto y = (x.to(at::kFloat) * 1.01 + 0.05 * at::randn({8000, 48})).to(at::kBFloat16);
    const auto change = y.to(at::kFloat) - x.to(at::kFloat);
    for (const auto& left : {x, change}) {
      const auto in_f32 = at::zeros({48, 48}, at::TensorOptions(device)), of_parts = in_f32.clone();
      add_moment(in_f32, left.to(device, at::kFloat), x.to(device, at::kFloat));
      add_moment_of_parts(of_parts, left.to(device), x.to(device));
      EXPECT_LT(relative_error(in_f32, left, x), kTolerance);
      EXPECT_LT(relative_error(of_parts, left, x), kTolerance);
    }
    // One part alone would not do.
    const auto rounded = at::zeros({48, 48}, at::TensorOptions(device));
    add_moment_of_parts(rounded, change.to(device, at::kBFloat16), x.to(device));
    EXPECT_GT(relative_error(rounded, change, x), 1e-5);
  }
}

TEST(Moments, ProductsAreAsExact) {
  for (const auto& device : test::devices()) {
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(std::string(c10::toString(type)) + " on " + device.str());
      const FullPrecisionProducts full_precision;
      const auto left = at::randn({30, 3000}).to(type), right = at::randn({3000, 20});
      const auto sum = at::zeros({30, 20}, at::TensorOptions(device));
      add_product(sum, left.to(device), right.to(device));
      EXPECT_LT(relative_error(sum, left.t(), right), kTolerance);
    }
  }
}

TEST(Moments, AddUp) {
  for (const auto& device : test::devices()) {
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(std::string(c10::toString(type)) + " on " + device.str());
      const FullPrecisionProducts full_precision;
      const auto left = at::randn({600, 12}).add_(1), right = at::randn({600, 20}).add_(1).to(type);
      const auto sum = at::zeros({12, 20}, at::TensorOptions(device));
      add_moment(sum, left.narrow(0, 0, 400).to(device), right.narrow(0, 0, 400).to(device));
      add_moment(sum, left.narrow(0, 400, 200).to(device), right.narrow(0, 400, 200).to(device));
      EXPECT_LT(relative_error(sum, left, right), kTolerance);
    }
  }
}

}  // namespace
}  // namespace normtweak::quantize
