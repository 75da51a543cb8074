#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "normtweak/base/device/bf16_product.h"
#include "normtweak/base/device/device.h"
#include "normtweak/base/device/matrix_product.h"

namespace normtweak {
namespace {

at::Tensor random(at::IntArrayRef sizes) { return at::randn(sizes).to(at::kBFloat16); }

at::Tensor in_f64(const at::Tensor& x, const at::Tensor& weight) {
  return at::matmul(x.to(at::kDouble), weight.to(at::kDouble).t());
}

double relative_error(const at::Tensor& found, const at::Tensor& wanted) {
  return ((found.to(at::kDouble) - wanted).norm() / wanted.norm()).item<double>();
}

constexpr double kOfSums = 1e-6;  // a bf16 result would be off by 2e-3

void expect_exact_products(const at::Tensor& x, const at::Tensor& weight) {
  SCOPED_TRACE(c10::str(x.sizes(), " x ", weight.sizes(), " strides ", x.strides(), " ", weight.strides()));
  const auto wanted = in_f64(x, weight);
  const auto product = bf16_product(x, weight);
  ASSERT_TRUE(product.defined());
  EXPECT_EQ(product.scalar_type(), at::kFloat);
  EXPECT_LT(relative_error(product, wanted), kOfSums);
  const auto sum = at::full(wanted.sizes(), 3.0, at::kFloat);
  ASSERT_TRUE(add_bf16_product(sum, x, weight));
  EXPECT_LT(relative_error(sum, wanted + 3), kOfSums);
}

TEST(Bf16Product, AddsExactProductsOfAnyStrides) {
  if (!has_bf16_products()) GTEST_SKIP() << "no AMX here, or no MKL";
  for (const auto rows : {1, 7, 64, 300}) {
    const auto x = random({rows, 48}), weight = random({80, 48}), gradient = random({rows, 80});
    expect_exact_products(x, weight);
    expect_exact_products(gradient, weight.t());
    expect_exact_products(gradient.t(), x.t());
    expect_exact_products(x.t(), x.t());
    expect_exact_products(x.slice(1, 8, 40), weight.slice(1, 16, 48));
    expect_exact_products(gradient.slice(1, 3, 43), weight.slice(0, 11, 51).t());
  }
}

TEST(Bf16Product, AddsIntoAPartOfASum) {
  if (!has_bf16_products()) GTEST_SKIP() << "no AMX here, or no MKL";
  const auto x = random({40, 100}), weight = random({24, 100});
  const auto whole = at::zeros({50, 60});
  const auto part = whole.narrow(0, 5, 40).narrow(1, 30, 24);
  ASSERT_TRUE(add_bf16_product(part, x, weight));
  EXPECT_LT(relative_error(part, in_f64(x, weight)), kOfSums);
  EXPECT_EQ(whole.ne(0).sum().item<std::int64_t>(), 40 * 24);
}

TEST(Bf16Product, LeavesTheRestToOthers) {
  const auto sum = at::full({40, 24}, 3.0), untouched = sum.clone();
  const auto x = random({40, 100}), weight = random({24, 100});
  EXPECT_FALSE(add_bf16_product(sum, x.to(at::kFloat), weight.to(at::kFloat)));
  EXPECT_FALSE(add_bf16_product(sum, x, weight.to(at::kFloat)));
  EXPECT_FALSE(add_bf16_product(sum, random({1, 100}).expand({40, 100}), weight));
  EXPECT_FALSE(add_bf16_product(sum, random({40, 200}).slice(1, 0, 200, 2), weight));
  EXPECT_FALSE(add_bf16_product(at::full({24, 40}, 3.0).t(), x, weight));
  const auto leaf = x.clone().requires_grad_();
  EXPECT_FALSE(bf16_product(leaf, weight).defined());  // its gradient must not be lost
  {
    const at::NoGradGuard no_gradients;
    EXPECT_EQ(bf16_product(leaf, weight).defined(), has_bf16_products());
  }
  EXPECT_FALSE(bf16_product(random({0, 100}), weight).defined());
  EXPECT_FALSE(bf16_product(random({40, 99}), weight).defined());
  EXPECT_FALSE(add_bf16_product(at::zeros({39, 24}), x, weight));
  EXPECT_FALSE(add_bf16_product(at::zeros({40, 25}), x, weight));
  EXPECT_FALSE(add_bf16_product(at::zeros({40, 24}, at::kDouble), x, weight));
  EXPECT_TRUE(sum.equal(untouched));
  if (!has_amx_bf16()) {
    EXPECT_FALSE(add_bf16_product(sum, x, weight));
  }
}

// Whatever the processor has.
TEST(Bf16Product, IsWhatAMatrixProductIntoAnF32SumTakes) {
  const auto x = random({300, 48}), weight = random({80, 48});
  const auto wanted = in_f64(x, weight);
  const auto sum = at::full({300, 80}, 3.0);
  add_matmul_transposed(sum, x, weight);
  EXPECT_LT(relative_error(sum, wanted + 3), kOfSums);
  const auto wide = wide_matmul_transposed(x, weight);
  const bool is_wide = wide.scalar_type() == at::kFloat;
  EXPECT_EQ(is_wide, has_bf16_products());
  EXPECT_LT(relative_error(wide, wanted), is_wide ? kOfSums : 1e-2);
}

}  // namespace
}  // namespace normtweak
