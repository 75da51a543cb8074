#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "normtweak/base/device/matrix_product.h"
#include "normtweak/base/device/packed_weights.h"

namespace normtweak {
namespace {

class PackedProducts : public testing::Test {
 protected:
  void SetUp() override {
    if (!can_be_packed(weight)) GTEST_SKIP() << "F32 products do not run in MKL here";
  }

  const at::Tensor weight = at::randn({700, 400});
};

void expect_product(const at::Tensor& found, const at::Tensor& x, const at::Tensor& weight) {
  const auto wanted = at::matmul(x.to(at::kDouble), weight.to(at::kDouble).t());
  ASSERT_EQ(found.sizes(), wanted.sizes());
  EXPECT_LT(((found.to(at::kDouble) - wanted).norm() / wanted.norm()).item<double>(), 1e-6);
}

TEST_F(PackedProducts, AreThoseOfTheWeight) {
  const c10::NoGradGuard no_gradients;
  const PackedWeights packed({weight}, 6);
  for (const auto& x : {at::randn({6, 400}), at::randn({6, 1, 400}), at::randn({2, 3, 400}), at::randn({400, 6}).t()}) {
    expect_product(PackedWeights::product(x, weight), x, weight);
    expect_product(matmul_transposed(x, weight), x, weight);
  }
}

TEST_F(PackedProducts, AreOfThisWeightAndSoManyRowsWhileItIsPacked) {
  const c10::NoGradGuard no_gradients;
  const auto x = at::randn({6, 400}), other = weight.clone();
  {
    const PackedWeights packed({weight}, 6);
    EXPECT_FALSE(PackedWeights::product(at::randn({5, 400}), weight).defined());
    EXPECT_FALSE(PackedWeights::product(x, other).defined());
    EXPECT_FALSE(PackedWeights::product(x, weight.slice(0, 0, 600)).defined());
    {
      const PackedWeights inner({other}, 6);
      EXPECT_TRUE(PackedWeights::product(x, other).defined());
      EXPECT_FALSE(PackedWeights::product(x, weight).defined());
    }
    EXPECT_TRUE(PackedWeights::product(x, weight).defined());
    const at::AutoGradMode with_gradients(true);
    EXPECT_FALSE(PackedWeights::product(x, weight).defined());
  }
  EXPECT_FALSE(PackedWeights::product(x, weight).defined());
}

}  // namespace
}  // namespace normtweak
