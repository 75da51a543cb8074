#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/linalg_lstsq.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "normtweak/quantize/drift.h"
#include "normtweak/quantize/hessian.h"
#include "support/devices.h"

namespace normtweak::quantize {
namespace {

constexpr std::int64_t kTokens = 300, kIn = 24, kOut = 10;

// What reaches a linear in the float model and in the quantized one, and the residual stream behind it.
struct Inputs {
  at::Tensor exact, x, exact_residual, residual;
};

Inputs drifted_inputs(c10::Device device) {
  const auto x = at::randn({kTokens, kIn}), residual = at::randn({kTokens, kOut});
  const auto exact = x + 0.3 * at::randn({kTokens, kIn}) + 0.1 * x.roll(1, 1);
  return {exact.to(device), x.to(device), (residual + 0.2 * at::randn({kTokens, kOut})).to(device),
          residual.to(device)};
}

struct Case {
  const char* name;
  bool residual, act_order;
  bool in_outputs = false;  // W D + R summed as a whole
};

// With the whole share and hardly any damping, it is the least-squares solution that LAPACK finds in F64.
TEST(Drift, IsTheLeastSquaresSolution) {
  for (const auto& device : test::devices()) {
    for (const auto& row : {Case{"inputs", false, false}, Case{"ordered", false, true}, Case{"residual", true, true},
                            Case{"in the outputs", true, true, true}}) {
      SCOPED_TRACE(std::string(row.name) + " on " + device.str());
      const auto inputs = drifted_inputs(device);
      const auto weight = at::randn({kOut, kIn}).to(device);
      HessianAccumulator hessian(kIn, device);
      DriftAccumulator drift(kIn, row.residual ? kOut : 0, device, row.in_outputs ? weight : at::Tensor());
      hessian.add(inputs.x);
      drift.add(inputs.exact, inputs.x, inputs.exact_residual, inputs.residual);
      const auto factor = factor_hessian(hessian.mean(), {.damping = 1e-7, .act_order = row.act_order});
      const auto found = correct_drift(weight, factor, drift.mean(hessian.mean(), hessian.total_weight()), 1);

      const auto wide = [](const at::Tensor& tensor) { return tensor.cpu().to(at::kDouble); };
      auto target = wide(inputs.exact).matmul(wide(weight).t());
      if (row.residual) target += wide(inputs.exact_residual) - wide(inputs.residual);
      const auto expected = std::get<0>(at::linalg_lstsq(wide(inputs.x), target)).t();
      // On a GPU the change is a TF32 product.
      const double tolerance = device.is_cuda() ? 1e-3 : 1e-5;
      EXPECT_LT((wide(found) - expected).norm().item<double>() / expected.norm().item<double>(), tolerance);
      const auto half = correct_drift(weight, factor, drift.mean(hessian.mean(), hessian.total_weight()), 0.5);
      EXPECT_LT((half - (weight + found) / 2).abs().max().item<double>(), 1e-5);
    }
  }
}

// W D + R of bf16 inputs, weights and a residual stream in F32, for tokens of different weights, some of which count
// nothing and hold anything. The same from the sums of the inputs and from those of the outputs, against F64.
TEST(Drift, InTheOutputsIsThatOfTheInputs) {
  for (const auto& device : test::devices()) {
    SCOPED_TRACE(device.str());
    auto inputs = drifted_inputs(at::kCPU);
    for (auto* tensor : {&inputs.exact, &inputs.x}) *tensor = tensor->to(at::kBFloat16);
    const auto weight = at::randn({kOut, kIn}).to(at::kBFloat16), tokens = at::randn({kTokens}).square();
    const auto wide = [](const at::Tensor& tensor) { return tensor.cpu().to(at::kDouble); };
    const auto drifted = wide(inputs.exact - inputs.x.to(at::kFloat)).matmul(wide(weight).t()) +
                         wide(inputs.exact_residual) - wide(inputs.residual);
    const auto some = tokens.narrow(0, 0, 20).zero_();
    const auto expected = (drifted * wide(tokens).unsqueeze(1)).t().matmul(wide(inputs.x)) / wide(tokens).sum();
    for (auto* tensor : {&inputs.exact, &inputs.x, &inputs.exact_residual, &inputs.residual}) {
      tensor->narrow(0, 0, some.size(0)).fill_(std::numeric_limits<float>::quiet_NaN());
    }
    HessianAccumulator hessian(kIn, device);
    hessian.add(inputs.x.to(device), tokens.to(device));
    for (const auto& of_linear : {at::Tensor(), weight.to(device)}) {
      DriftAccumulator drift(kIn, kOut, device, of_linear);
      drift.add(inputs.exact.to(device), inputs.x.to(device), inputs.exact_residual.to(device),
                inputs.residual.to(device), tokens.to(device));
      const auto mean = drift.mean(hessian.mean(), hessian.total_weight());
      EXPECT_EQ(mean.change.defined(), of_linear.defined());
      const auto found =
          mean.change.defined() ? wide(mean.change) : wide(weight).matmul(wide(mean.inputs)) + wide(mean.residual);
      EXPECT_LT((found - expected).norm().item<double>() / expected.norm().item<double>(), 2e-5);
    }
  }
}

TEST(Drift, LeavesOutMaskedTokensWhateverTheyHold) {
  const auto inputs = drifted_inputs(at::kCPU);
  const auto broken = at::full_like(inputs.x.narrow(0, 0, 5), std::numeric_limits<float>::quiet_NaN());
  const auto mask = at::cat({at::zeros({5}, at::kBool), at::ones({kTokens}, at::kBool)});
  DriftAccumulator plain(kIn, 0, at::kCPU), masked(kIn, 0, at::kCPU);
  plain.add(inputs.exact, inputs.x, {}, {});
  masked.add(at::cat({broken, inputs.exact}), at::cat({broken, inputs.x}), {}, {}, mask);
  HessianAccumulator hessian(kIn, at::kCPU);
  hessian.add(inputs.x);
  const auto of = [&](const DriftAccumulator& drift) { return drift.mean(hessian.mean(), kTokens).inputs; };
  EXPECT_LT((of(plain) - of(masked)).abs().max().item<double>(), 1e-5);
}

TEST(Drift, LeavesDeadColumnsAsTheyAre) {
  auto inputs = drifted_inputs(at::kCPU);
  inputs.x.select(1, 3).zero_();
  const auto weight = at::randn({kOut, kIn});
  HessianAccumulator hessian(kIn, at::kCPU);
  DriftAccumulator drift(kIn, 0, at::kCPU);
  hessian.add(inputs.x);
  drift.add(inputs.exact, inputs.x, {}, {});
  const auto factor = factor_hessian(hessian.mean(), {.act_order = true});
  const auto found = correct_drift(weight, factor, drift.mean(hessian.mean(), kTokens), 1);
  EXPECT_TRUE(found.select(1, 3).equal(weight.select(1, 3)));
  EXPECT_TRUE(found.isfinite().all().item<bool>());
  EXPECT_FALSE(found.select(1, 2).equal(weight.select(1, 2)));
}

struct ShareCase {
  const char* name;
  double common, noise;  // how much of the drift follows from the inputs, and how much is by chance
  double least, most;    // bounds of the share
};

// One half of a text whose drift is partly a linear map of the inputs.
struct Half {
  at::Tensor x, y;
  DriftHalf sums() const {
    HessianAccumulator hessian(kIn, at::kCPU);
    DriftAccumulator drift(kIn, 0, at::kCPU);
    hessian.add(x);
    drift.add(y, x, {}, {});
    return {hessian.mean(), drift.mean(hessian.mean(), hessian.total_weight())};
  }
};

// The whole text is corrected by what its halves say: the same as from its own sums, with the share found apart.
TEST(Drift, OfTheWholeTextIsThatOfItsHalvesTogether) {
  const auto text = drifted_inputs(at::kCPU);
  const auto part = [](const at::Tensor& all, std::int64_t first, std::int64_t count) {
    return all.narrow(0, first, count);
  };
  HessianAccumulator hessian(kIn, at::kCPU);
  DriftAccumulator drift(kIn, kOut, at::kCPU);
  hessian.add(text.x);
  drift.add(text.exact, text.x, text.exact_residual, text.residual);
  std::array<DriftHalf, 2> halves;
  for (const std::int64_t i : {0, 1}) {
    const std::int64_t first = i == 0 ? 0 : kTokens / 3, count = i == 0 ? kTokens / 3 : kTokens - kTokens / 3;
    HessianAccumulator own(kIn, at::kCPU);
    DriftAccumulator own_drift(kIn, kOut, at::kCPU);
    own.add(part(text.x, first, count));
    own_drift.add(part(text.exact, first, count), part(text.x, first, count), part(text.exact_residual, first, count),
                  part(text.residual, first, count));
    halves.at(static_cast<std::size_t>(i)) = {own.mean(), own_drift.mean(own.mean(), own.total_weight()),
                                              own.total_weight() / kTokens};
  }
  const FactorOptions options = {.damping = 1e-3, .act_order = true};
  const auto weight = at::randn({kOut, kIn});
  const InputHessian whole(hessian.mean());
  const double share = share_that_carries_over(weight, halves, options);
  const auto expected =
      correct_drift(weight, whole.factor(options), drift.mean(hessian.mean(), hessian.total_weight()), 0.5 * share);
  EXPECT_GT(share, 0.1);
  EXPECT_TRUE(correct_drift(weight, whole, halves, options, 0.5).allclose(expected, 1e-4, 1e-5));
}

TEST(Drift, OnlyWhatBothHalvesShowCarriesOver) {
  for (const auto& row : {ShareCase{"common", 0.2, 0.001, 0.99, 1}, ShareCase{"by chance", 0, 0.5, 0, 0.1},
                          ShareCase{"both", 0.2, 0.5, 0.02, 0.9}}) {
    SCOPED_TRACE(row.name);
    at::manual_seed(1);
    const auto weight = at::randn({kOut, kIn}), map = at::randn({kIn, kIn});
    const auto half = [&] {
      const auto x = at::randn({100, kIn});
      return Half{x, x + row.common * x.matmul(map) / std::sqrt(kIn) + row.noise * at::randn({100, kIn})};
    };
    const Half first = half(), second = half();
    const FactorOptions options = {.damping = 1e-4, .act_order = true};
    const double share = share_that_carries_over(weight, {first.sums(), second.sums()}, options);
    EXPECT_GE(share, row.least);
    EXPECT_LE(share, row.most);
    // No other share does better on the halves that the corrections were not made from, in F64 and token by token.
    const auto error = [&](double tried) {
      double sum = 0;
      for (const auto& [made_from, other] : {std::pair(first, second), std::pair(second, first)}) {
        const auto sums = made_from.sums();
        const auto moved = correct_drift(weight, sums.hessian.factor(options), sums.drift, tried).to(at::kDouble);
        const auto wanted = other.y.to(at::kDouble).matmul(weight.to(at::kDouble).t());
        sum += (wanted - other.x.to(at::kDouble).matmul(moved.t())).square().sum().item<double>();
      }
      return sum;
    };
    for (const double other : {share - 0.05, share + 0.05}) {
      if (other < 0 || other > 1) continue;
      EXPECT_GT(error(other), error(share)) << other;
    }
  }
}

}  // namespace
}  // namespace normtweak::quantize
