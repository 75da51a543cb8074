#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "normtweak/base/device/matrix_product.h"

namespace normtweak {
namespace {

void expect_product(const at::Tensor& x, const at::Tensor& weight, double tolerance) {
  SCOPED_TRACE(c10::str(x.sizes(), " x ", weight.sizes(), " strides ", x.strides(), " ", weight.strides()));
  const auto found = matmul_transposed(x, weight);
  EXPECT_EQ(found.scalar_type(), x.scalar_type());
  const auto wanted = at::matmul(x.detach().to(at::kDouble), weight.detach().to(at::kDouble).t());
  ASSERT_EQ(found.sizes(), wanted.sizes());
  if (wanted.numel() == 0) return;
  const auto error = (found.detach().to(at::kDouble) - wanted).norm() / wanted.norm();
  EXPECT_LT(error.item<double>(), tolerance);
}

TEST(MatrixProduct, IsXTimesTheTransposedWeight) {
  for (const auto tokens : {1, 7, 64, 300}) {
    expect_product(at::randn({tokens, 48}), at::randn({80, 48}), 1e-6);
    expect_product(at::randn({2, tokens, 48}), at::randn({80, 48}), 1e-6);
    expect_product(at::randn({tokens, 48}).to(at::kBFloat16), at::randn({80, 48}).to(at::kBFloat16), 1e-2);
  }
  expect_product(at::empty({0, 48}), at::randn({80, 48}), 1e-6);
}

TEST(MatrixProduct, TakesViews) {
  for (const auto tokens : {5, 300}) {
    const auto x = at::randn({tokens, 48}), gradient = at::randn({tokens, 80}), weight = at::randn({80, 48});
    expect_product(gradient, weight.t(), 1e-6);
    expect_product(gradient.t(), x.t(), 1e-6);
    expect_product(x.t(), x.t(), 1e-6);
    expect_product(x.slice(1, 8, 40), weight.slice(1, 16, 48), 1e-6);
    expect_product(x.slice(0, 0, tokens, 2), weight.slice(0, 3, 60), 1e-6);
    expect_product(gradient.slice(1, 3, 43), weight.slice(0, 11, 51).t(), 1e-6);
    expect_product(at::randn({3, tokens, 48}).transpose(0, 1), weight, 1e-6);
    expect_product(x, at::randn({1, 48}).expand({80, 48}), 1e-6);
  }
}

TEST(MatrixProduct, AddsToASum) {
  for (const auto type : {at::kFloat, at::kDouble}) {
    const auto x = at::randn({300, 48}).to(type), weight = at::randn({80, 48}).to(type);
    const auto start = at::randn({300, 80}).to(type);
    const auto sum = start.clone();
    add_matmul_transposed(sum, x, weight);
    EXPECT_LT((sum - start - at::matmul(x, weight.t())).abs().max().item<double>(), 1e-4);
  }
}

TEST(MatrixProduct, OfAMatrixWithItselfIsSymmetric) {
  const auto x = at::randn({777, 330});
  const auto square = matmul_transposed(x.t(), x.t());
  EXPECT_TRUE(square.equal(square.t()));
}

// Where a gradient is wanted it must not be lost in silence.
TEST(MatrixProduct, LeavesGradientsToAutograd) {
  const auto x = at::randn({300, 48}).requires_grad_(), weight = at::randn({80, 48});
  EXPECT_TRUE(matmul_transposed(x, weight).requires_grad());
  const at::NoGradGuard no_gradients;
  EXPECT_FALSE(matmul_transposed(x, weight).requires_grad());
}

}  // namespace
}  // namespace normtweak
