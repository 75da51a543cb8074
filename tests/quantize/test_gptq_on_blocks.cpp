// GPTQ and coordinate descent on the block types.
#include <ATen/TensorOperators.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>

#include "normtweak/base/error.h"
#include "normtweak/quantize/block_descent.h"
#include "normtweak/quantize/block_search.h"
#include "normtweak/quantize/gptq.h"
#include "support/devices.h"

namespace normtweak::quantize {
namespace {

constexpr std::int64_t kIn = 512, kOut = 40;

at::Tensor wide(const at::Tensor& tensor) { return tensor.cpu().to(at::kDouble); }

at::Tensor correlated_hessian() {
  const auto x = at::matmul(at::randn({2048, kIn}), at::randn({kIn, kIn}) / std::sqrt(kIn) + at::eye(kIn));
  return at::matmul(x.t(), x) / 2048;
}

// [out]
at::Tensor channel_errors(const weights::BlockWeight& rounded, const at::Tensor& weight, const at::Tensor& hessian) {
  const auto error = wide(weight) - wide(weights::dequantize(rounded));
  return (at::matmul(error, wide(hessian)) * error).sum(1);
}

double total(const at::Tensor& errors) { return errors.sum().item<double>(); }

class GptqOnBlocks : public testing::TestWithParam<weights::BlockType> {};

TEST_P(GptqOnBlocks, BeatsRounding) {
  const auto& type = GetParam();
  const auto weight = at::randn({kOut, kIn}) * 0.05, hessian = correlated_hessian();
  const auto nearest = total(channel_errors(quantize_blocks(weight, type, hessian.diagonal()), weight, hessian));
  for (const auto device : test::devices()) {
    for (const bool act_order : {false, true}) {
      SCOPED_TRACE(device.str() + (act_order ? " act-order" : ""));
      const auto factor = factor_hessian(hessian.to(device), {.act_order = act_order});
      const auto found = quantize_gptq(weight.to(device), factor, type);
      EXPECT_LT(total(channel_errors(found, weight, hessian)),
                (act_order ? 0.9 : 0.85) * nearest);  // in order, blocks are searched with the feedback
      const auto again = quantize_gptq(weight.to(device), factor, type);
      EXPECT_TRUE(again.codes.equal(found.codes) && again.scales.equal(found.scales));
    }
  }
}

TEST_P(GptqOnBlocks, SweepsMakeNoChannelWorse) {
  const auto& type = GetParam();
  const auto weight = at::randn({kOut, kIn}) * 0.05, hessian = correlated_hessian();
  for (const auto device : test::devices()) {
    const auto factor = factor_hessian(hessian.to(device), {});
    const auto damped = hessian + at::eye(kIn) * factor.added;
    auto rounded = quantize_gptq(weight.to(device), factor, type);
    const auto first = channel_errors(rounded, weight, damped);
    auto before = first;
    for (int sweep = 0; sweep < 3; ++sweep) {
      const auto kept = rounded.codes.clone(), old = rounded.codes;
      descend(rounded, type, weight.to(device), hessian.to(device), factor.added, 1);
      EXPECT_TRUE(old.equal(kept));  // other handles keep what they had
      const auto after = channel_errors(rounded, weight, damped);
      EXPECT_LT((after / before).max().item<double>(), 1 + 1e-3) << "sweep " << sweep;
      before = after;
    }
    EXPECT_LT(total(before), 0.98 * total(first));
    EXPECT_TRUE(rounded.scales.to(at::kHalf).to(at::kFloat).equal(rounded.scales));
    if (!type.has_sub_blocks()) continue;
    const auto inside = wide(rounded.sub_scales);
    EXPECT_TRUE(type.sub_scales.contains(inside.min().item<int>()) &&
                type.sub_scales.contains(inside.max().item<int>()));
  }
}

// Columns that no token used are rounded to nearest by GPTQ, and channels of zeros stay so.
TEST_P(GptqOnBlocks, RoundsDeadColumnsAndEmptyChannels) {
  const auto& type = GetParam();
  const auto weight = at::randn({kOut, kIn}) * 0.05;
  weight[7].zero_();
  const auto hessian = correlated_hessian();
  hessian.slice(0, 0, 300).zero_();
  hessian.slice(1, 0, 300).zero_();
  const auto factor = factor_hessian(hessian, {});
  auto rounded = quantize_gptq(weight, factor, type);
  descend(rounded, type, weight, hessian, factor.added, 1);
  const auto values = weights::dequantize(rounded);
  EXPECT_TRUE(values.isfinite().all().item<bool>());
  EXPECT_EQ(values[7].abs().max().item<double>(), 0);
  EXPECT_LT((values - weight).slice(1, 0, 300).square().mean().item<double>(), 0.05 * 0.05 * 0.2);
}

INSTANTIATE_TEST_SUITE_P(All, GptqOnBlocks, testing::ValuesIn(weights::kBlockTypes),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(BlockGptq, RefusesColumnsThatAreNoBlocks) {
  const auto factor = factor_hessian(at::eye(96), {});
  try {
    quantize_gptq(at::randn({4, 96}), factor, find_block_type("Q6_K"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "96 columns are no whole blocks of Q6_K, which have 256");
  }
}

}  // namespace
}  // namespace normtweak::quantize
