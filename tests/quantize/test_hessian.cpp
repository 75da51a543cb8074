#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <limits>

#include "normtweak/base/error.h"
#include "normtweak/quantize/hessian.h"
#include "support/devices.h"

namespace normtweak::quantize {
namespace {

at::Tensor reference(const at::Tensor& x) {
  const auto rows = x.cpu().to(at::kDouble).reshape({-1, x.size(-1)});
  return at::matmul(rows.t(), rows) / rows.size(0);
}

double relative_error(const at::Tensor& found, const at::Tensor& expected) {
  return (found.cpu().to(at::kDouble) - expected).norm().item<double>() / expected.norm().item<double>();
}

// F32 sums over thousands of tokens: a few units in the last place. bf16 products would give 1e-3, TF32 2e-4.
constexpr double kTolerance = 2e-6;

TEST(Hessian, IsTheMeanOverTokens) {
  for (const auto& device : test::devices()) {
    for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
      SCOPED_TRACE(std::string(c10::toString(type)) + " on " + device.str());
      const auto x = at::randn({3, 7000, 40}).add_(0.5).to(device, type);
      HessianAccumulator hessian(40, device);
      hessian.add(x.narrow(0, 0, 1));
      hessian.add(x.narrow(0, 1, 2));
      EXPECT_EQ(hessian.total_weight(), 21000);
      EXPECT_LT(relative_error(hessian.mean(), reference(x)), kTolerance);
    }
  }
}

// Wide ones are summed in strips that begin at the diagonal: the last strip is narrower, and what stands below is
// mirrored.
TEST(Hessian, OfManyColumnsIsWholeAndSymmetric) {
  for (const auto& device : test::devices()) {
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      for (const std::int64_t columns : {300, 600, device.is_cuda() ? 6200 : 1100}) {
        SCOPED_TRACE(std::string(c10::toString(type)) + " on " + device.str());
        const auto x = at::randn({2, 500, columns}).add_(0.5).to(device, type);
        HessianAccumulator hessian(columns, device);
        hessian.add(x.narrow(0, 0, 1));
        hessian.add(x.narrow(0, 1, 1));
        const auto mean = hessian.mean();
        EXPECT_LT(relative_error(mean, reference(x)), kTolerance) << columns;
        EXPECT_TRUE(mean.equal(mean.t())) << columns;
      }
    }
  }
}

TEST(Hessian, StaysExactWhereForwardPassesNeedNotBe) {
  auto& context = at::globalContext();
  context.setFloat32Precision(at::Float32Backend::CUDA, at::Float32Op::MATMUL, at::Float32Precision::TF32);
  context.setFloat32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL, at::Float32Precision::BF16);
  for (const auto& device : test::devices()) {
    const auto x = at::randn({4096, 256}).to(device);
    HessianAccumulator hessian(256, device);
    hessian.add(x);
    EXPECT_LT(relative_error(hessian.mean(), reference(x)), kTolerance) << device.str();
  }
  EXPECT_EQ(context.float32Precision(at::Float32Backend::CUDA, at::Float32Op::MATMUL), at::Float32Precision::TF32);
  EXPECT_EQ(context.float32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL), at::Float32Precision::BF16);
  context.setFloat32Precision(at::Float32Backend::CUDA, at::Float32Op::MATMUL, at::Float32Precision::NONE);
  context.setFloat32Precision(at::Float32Backend::MKLDNN, at::Float32Op::MATMUL, at::Float32Precision::NONE);
}

TEST(Hessian, LeavesOutMaskedTokensWhateverTheyHold) {
  for (const auto& device : test::devices()) {
    auto x = at::randn({2, 50, 16}, at::TensorOptions(device));
    const auto mask = (at::arange(100) % 3 != 0).view({2, 50});
    const auto kept = x.cpu().reshape({100, 16}).index({mask.reshape({100})});
    x.masked_fill_(mask.logical_not().unsqueeze(-1).to(device), std::numeric_limits<double>::quiet_NaN());
    HessianAccumulator hessian(16, device);
    hessian.add(x, mask);
    EXPECT_EQ(hessian.total_weight(), 66);
    EXPECT_LT(relative_error(hessian.mean(), reference(kept)), kTolerance);
  }
}

TEST(Hessian, WeighsTokens) {
  for (const auto& device : test::devices()) {
    SCOPED_TRACE(device.str());
    auto x = at::randn({3, 4000, 24}).add_(0.5);
    const auto weights = at::randn({3, 4000}).square().mul_(at::arange(4000) % 5 != 0);  // a fifth of them 0
    const auto rows = x.to(at::kDouble).view({-1, 24}), exact = weights.to(at::kDouble).view({-1, 1});
    const auto expected = at::matmul(rows.t(), rows * exact) / exact.sum();
    x.masked_fill_((weights == 0).unsqueeze(-1), std::numeric_limits<double>::quiet_NaN());
    HessianAccumulator hessian(24, device);
    hessian.add(x.narrow(0, 0, 1).to(device), weights.narrow(0, 0, 1));
    hessian.add(x.narrow(0, 1, 2).to(device), weights.narrow(0, 1, 2).to(device));
    EXPECT_LT(relative_error(hessian.mean(), expected), kTolerance);
    EXPECT_NEAR(hessian.total_weight(), exact.sum().item<double>(), 1e-6 * 12000);
    EXPECT_GT(relative_error(reference(x.nan_to_num()), expected), 0.01);  // the weights make a difference
  }
}

TEST(Hessian, RefusesWhatDoesNotFit) {
  HessianAccumulator hessian(16, at::kCPU);
  EXPECT_THROW(hessian.mean(), Error);
  EXPECT_THROW(hessian.add(at::randn({4, 15})), Error);
  EXPECT_THROW(hessian.add(at::randn({4, 16}), at::arange(3) > 0), Error);
  hessian.add(at::randn({4, 16}), at::arange(4) > 3);
  EXPECT_THROW(hessian.mean(), Error);  // no token counted
}

}  // namespace
}  // namespace normtweak::quantize
