// Both forms of the passes over affine codes, against their formulas in F64.
#include <ATen/TensorOperators.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "normtweak/weights/group_kernels.h"
#include "support/devices.h"

namespace normtweak::weights {
namespace {

struct KernelCase {
  const char* name;
  int bits;
  std::int64_t rows, columns, group_size;  // group_size 0: the whole row
  bool float_zeros;
};
const KernelCase kCases[] = {
    {"groups of a register", 4, 5, 64, 16, false},  {"groups with a rest", 3, 7, 120, 40, false},
    {"groups below a register", 2, 3, 24, 8, true}, {"whole rows", 8, 33, 50, 0, false},
    {"float zeros", 4, 9, 128, 64, true},           {"many groups", 4, 130, 1024, 128, false},
};

double relative_error(const at::Tensor& found, const at::Tensor& expected) {
  return ((found - expected).abs().max() / expected.abs().max()).item<double>();
}

AffineWeight random_weight(const KernelCase& row, c10::Device device) {
  const auto groups = row.group_size == 0 ? 1 : row.columns / row.group_size;
  AffineWeight weight;
  weight.codes =
      at::randint(std::int64_t{1} << row.bits, {row.rows, row.columns}, at::TensorOptions(at::kByte)).to(device);
  weight.scales = (at::rand({row.rows, groups}) + 0.1).to(device);
  weight.zeros = (at::rand({row.rows, groups}) * ((1 << row.bits) - 1)).to(device);
  if (!row.float_zeros) weight.zeros.round_();
  weight.bits = row.bits;
  weight.group_size = static_cast<int>(row.group_size);
  weight.float_zeros = row.float_zeros;
  return weight;
}

// [out, in] → f64 [out, groups, columns of a group]
at::Tensor grouped(const at::Tensor& matrix, const AffineWeight& weight) {
  return matrix.to(at::kDouble).view({matrix.size(0), -1, columns_per_group(weight)});
}
at::Tensor exact_steps(const AffineWeight& weight) {
  return grouped(weight.codes, weight) - weight.zeros.to(at::kDouble).unsqueeze(-1);
}

TEST(GroupKernels, DequantizeAndRoundOnce) {
  for (const auto& row : kCases) {
    for (const auto device : test::devices()) {
      SCOPED_TRACE(std::string(row.name) + " on " + device.str());
      const auto weight = random_weight(row, device);
      const auto exact = (exact_steps(weight) * weight.scales.to(at::kDouble).unsqueeze(-1)).view(weight.codes.sizes());
      for (const auto type : {at::kFloat, at::kBFloat16}) {
        // Half a step of the type; F32 rounds the difference and the product, or zero * scale and the sum.
        const double tolerance = type == at::kFloat ? 2e-7 : 1.0 / 256 + 1e-6;
        const double rounded = std::max(2e-6, 1.2e-7 * (weight.zeros * weight.scales).max().item<double>());
        for (const auto& values : {dequantize_groups(weight, type), by_operations::dequantize_groups(weight, type)}) {
          EXPECT_EQ(values.scalar_type(), type);
          EXPECT_TRUE(values.to(at::kDouble).allclose(exact, tolerance, rounded));
        }
      }
    }
  }
}

TEST(GroupKernels, ReduceGradientsToGroups) {
  for (const auto& row : kCases) {
    for (const auto device : test::devices()) {
      SCOPED_TRACE(std::string(row.name) + " on " + device.str());
      const auto weight = random_weight(row, device);
      for (const auto type : {at::kFloat, at::kBFloat16}) {
        const auto gradient = at::randn(weight.codes.sizes()).to(device, type);
        const auto exact = grouped(gradient, weight);
        const auto scales = (exact * exact_steps(weight)).sum(-1),
                   zeros = -weight.scales.to(at::kDouble) * exact.sum(-1);
        // In bf16 the weight and its products are rounded one by one, each by 1/256 at most, before they are summed in
        // F32.
        const double tolerance = type == at::kFloat ? 1e-6 : 2.0 / 256;
        const auto check = [&](const GroupGradients& found) {
          EXPECT_LT(relative_error(found.scales, scales), tolerance);
          EXPECT_LT(relative_error(found.zeros, zeros), tolerance);
        };
        check(reduce_to_groups(gradient, weight, true));
        check(by_operations::reduce_to_groups(gradient, weight, true));
        const auto dequantized = by_operations::dequantize_for_gradients(weight, type);
        check(by_operations::reduce_to_groups(gradient, weight, true, dequantized));
        EXPECT_FALSE(reduce_to_groups(gradient, weight, false).zeros.defined());
      }
    }
  }
}

// The derivative with respect to a scale does not vanish where the scale does, and the input's does.
TEST(GroupKernels, AScaleOfZeroHasTheGradientOfPlainAutograd) {
  for (const auto device : test::devices()) {
    SCOPED_TRACE(device.str());
    auto weight = random_weight({"zero scales", 4, 6, 64, 16, true}, device);
    weight.scales.select(1, 1).zero_();
    weight.scales.select(0, 2).zero_();
    const auto scales = weight.scales.to(at::kDouble).requires_grad_(),
               zeros = weight.zeros.to(at::kDouble).requires_grad_();
    const auto steps = grouped(weight.codes, weight) - zeros.unsqueeze(-1);
    const auto exact = (steps * scales.unsqueeze(-1)).view(weight.codes.sizes());
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      const auto gradient = at::randn(weight.codes.sizes()).to(device, type);
      scales.mutable_grad() = at::Tensor();
      zeros.mutable_grad() = at::Tensor();
      exact.backward(gradient.to(at::kDouble), /*retain_graph=*/true);
      const double tolerance = type == at::kFloat ? 1e-6 : 2.0 / 256;  // as above
      const auto check = [&](const at::Tensor& dequantized, const GroupGradients& found) {
        EXPECT_LT(relative_error(found.scales, scales.grad()), tolerance);
        EXPECT_LT(relative_error(found.zeros, zeros.grad()), tolerance);
        EXPECT_TRUE(dequantized[2].to(at::kDouble).allclose(exact[2], 0, 1e-17));
      };
      const auto on_cpu = dequantize_for_gradients(weight, type),
                 elsewhere = by_operations::dequantize_for_gradients(weight, type);
      check(on_cpu, reduce_to_groups(gradient, weight, true, on_cpu));
      check(elsewhere, by_operations::reduce_to_groups(gradient, weight, true, elsewhere));
      check(elsewhere, by_operations::reduce_to_groups(gradient, weight, true));
    }
  }
}

}  // namespace
}  // namespace normtweak::weights
