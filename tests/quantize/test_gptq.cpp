#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "normtweak/base/device/device.h"
#include "normtweak/base/error.h"
#include "normtweak/quantize/gptq.h"
#include "normtweak/quantize/hessian.h"
#include "normtweak/quantize/rtn.h"
#include "oracle.h"
#include "support/devices.h"

namespace normtweak::quantize {
namespace {

// The oracle computes in F64 what runs here in F32. A weight that lies within some 1e-6 of the middle between two codes
// may fall to the other side, and takes some of the columns after it along: hence not all codes.
constexpr double kLeastShareOfCodes = 0.999;
constexpr double kErrorTolerance = 1e-3;
// On a GPU errors are fed back by TF32 products, and so it is some 1e-3 of a step (product_precision.h).
constexpr double kLeastShareOfCodesGpu = 0.995;
constexpr double kErrorToleranceGpu = 1e-2;

TEST(Gptq, EqualsTheColumnByColumnAlgorithm) {
  for (const auto& device : test::devices()) {
    for (const auto& facts : test::oracle_cases("gptq")) {
      const auto name = facts.at("name").get<std::string>();
      SCOPED_TRACE(name + " on " + device.str());
      const double tolerance = device.is_cuda() ? kErrorToleranceGpu : kErrorTolerance;
      const auto problem = "gptq_" + facts.at("problem").get<std::string>();
      const auto weight = test::oracle_array(problem + "_weight").to(device);
      const auto hessian = test::oracle_array(problem + "_hessian").to(device);
      const auto factor = factor_hessian(hessian, {.damping = facts.at("damping"), .act_order = facts.at("act_order")});
      const auto result = quantize_gptq(weight, factor,
                                        {.bits = facts.at("bits"),
                                         .group_size = facts.at("group"),
                                         .symmetric = facts.at("symmetric"),
                                         .float_zeros = facts.at("float_zeros"),
                                         .search_grid = facts.at("search"),
                                         .scale_type = parse_float_type(facts.at("scale_type").get<std::string>())});
      const auto same = result.codes.cpu().eq(test::oracle_array(name + "_codes"));
      EXPECT_GE(same.to(at::kDouble).mean().item<double>(),
                device.is_cuda() ? kLeastShareOfCodesGpu : kLeastShareOfCodes);
      const double expected = facts.at("layer_error");
      const auto error = layer_error(weight, weights::dequantize(result), hessian);
      EXPECT_NEAR(error, expected, tolerance * expected);
      EXPECT_EQ(factor.damping, facts.at("damping"));
    }
  }
}

at::Tensor hessian_of(std::int64_t tokens, std::int64_t in) {
  const auto inputs = at::matmul(at::randn({tokens, in}), at::randn({in, in}) / std::sqrt(in) + at::eye(in));
  return at::matmul(inputs.t(), inputs) / tokens;
}

TEST(Gptq, BeatsRoundToNearest) {
  const auto weight = at::randn({40, 128}), hessian = hessian_of(512, 128);
  for (const bool act_order : {false, true}) {
    const auto result =
        quantize_gptq(weight, factor_hessian(hessian, {.act_order = act_order}), AffineOptions{.group_size = 32});
    const auto rounded = quantize_rtn(weight, {.group_size = 32});
    EXPECT_LT(layer_error(weight, weights::dequantize(result), hessian),
              0.7 * layer_error(weight, weights::dequantize(rounded), hessian));
  }
}

TEST(Gptq, IsRoundToNearestForInputsWithoutCorrelation) {
  const auto weight = at::randn({30, 96});
  for (const auto& hessian : {at::eye(96), at::zeros({96, 96})}) {  // zeros: no token ever reached the linear
    const auto result = quantize_gptq(weight, factor_hessian(hessian, {}), AffineOptions{.group_size = 32});
    const auto rounded = quantize_rtn(weight, {.group_size = 32});
    EXPECT_TRUE(result.codes.equal(rounded.codes));
    EXPECT_TRUE(result.scales.equal(rounded.scales));
  }
}

TEST(Gptq, StackedLinearsAreQuantizedApart) {
  const auto first = at::randn({20, 64}), second = at::randn({150, 64});
  const auto factor = factor_hessian(hessian_of(300, 64), {.act_order = true});
  const auto stacked = quantize_gptq(at::cat({first, second}), factor, AffineOptions{.group_size = 16});
  // Slices of rows fall otherwise, and products of other sizes round their last digit otherwise.
  const auto alone = quantize_gptq(second, factor, AffineOptions{.group_size = 16});
  EXPECT_GE(stacked.codes.narrow(0, 20, 150).eq(alone.codes).to(at::kFloat).mean().item<float>(), 0.999F);
  EXPECT_TRUE(stacked.scales.narrow(0, 20, 150).equal(alone.scales));
}

TEST(Gptq, IsRepeatable) {
  const auto weight = at::randn({200, 256}), hessian = hessian_of(300, 256);
  const auto once = quantize_gptq(weight, factor_hessian(hessian, {}), AffineOptions{.group_size = 64});
  const auto again = quantize_gptq(weight, factor_hessian(hessian, {}), AffineOptions{.group_size = 64});
  EXPECT_TRUE(once.codes.equal(again.codes));
}

struct Singular {
  const char* name;
  at::Tensor hessian;
  double damping, taken;
};

TEST(Gptq, RaisesDampingForASingularHessian) {
  const auto weight = at::randn({16, 64});
  auto indefinite = hessian_of(500, 64);
  indefinite.diagonal().mul_(0.8);
  const Singular cases[] = {
      {"fewer tokens than columns, no damping", hessian_of(20, 64), 0, 1e-3},
      {"all inputs alike, no damping", at::ones({64, 64}), 0, 1e-3},
      {"all inputs alike", at::ones({64, 64}), 0.01, 0.01},
      {"indefinite", indefinite, 0.01, 1},
  };
  for (const auto& row : cases) {
    SCOPED_TRACE(row.name);
    const auto factor = factor_hessian(row.hessian, {.damping = row.damping});
    EXPECT_NEAR(factor.damping, row.taken, 1e-9);
    const auto result = quantize_gptq(weight, factor, AffineOptions{.group_size = 16});
    EXPECT_TRUE(weights::dequantize(result).isfinite().all().item<bool>());
  }
}

TEST(Gptq, RefusesABrokenHessian) {
  auto nan = hessian_of(100, 8), negative = hessian_of(100, 8), indefinite = at::ones({8, 8}) * 100;
  nan[2][3] = std::numeric_limits<float>::quiet_NaN();
  negative[1][1] = -1;
  indefinite.diagonal().fill_(1);
  EXPECT_THROW(factor_hessian(nan, {}), Error);
  EXPECT_THROW(factor_hessian(negative, {}), Error);
  EXPECT_THROW(factor_hessian(indefinite, {}), Error);
  EXPECT_THROW(factor_hessian(at::ones({8, 4}), {}), Error);
}

TEST(Gptq, RefusesAWeightThatDoesNotFit) {
  const auto factor = factor_hessian(hessian_of(100, 8), {});
  auto nan = at::ones({2, 8});
  nan[1][1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(quantize_gptq(nan, factor, AffineOptions{.group_size = 0}), Error);
  EXPECT_THROW(quantize_gptq(at::ones({2, 6}), factor, AffineOptions{.group_size = 0}), Error);
  EXPECT_THROW(quantize_gptq(at::ones({2, 8}), factor, AffineOptions{.group_size = 3}), Error);
  EXPECT_THROW(quantize_gptq(at::ones({2, 8}), factor, AffineOptions{.bits = 7, .group_size = 0}), Error);
  EXPECT_THROW(quantize_gptq(at::ones({2, 8}) * 1e7, factor, AffineOptions{.group_size = 0}), Error);
}

TEST(InputHessian, IsFactoredOnceForTheSameOptions) {
  const InputHessian hessian(hessian_of(100, 8));
  const auto* first = hessian.factor({}).feedback.const_data_ptr();
  EXPECT_EQ(hessian.factor({}).feedback.const_data_ptr(), first);
  EXPECT_FALSE(hessian.factor({}).order.defined());
  EXPECT_TRUE(hessian.factor({.act_order = true}).order.defined());
}

}  // namespace
}  // namespace normtweak::quantize
