#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "normtweak/base/error.h"
#include "normtweak/quantize/block_search.h"
#include "oracle.h"
#include "support/devices.h"

namespace normtweak::quantize {
namespace {

class BlockTypes : public testing::TestWithParam<weights::BlockType> {};

at::Tensor wide(const at::Tensor& tensor) { return tensor.cpu().to(at::kDouble); }

// [out, in / block]
at::Tensor block_errors(const at::Tensor& weight, const at::Tensor& importance, const weights::BlockWeight& rounded) {
  const auto error = wide(weight) - wide(weights::dequantize(rounded));
  return (error * error * wide(importance)).view({weight.size(0), -1, rounded.block_size}).sum(2);
}

// Every integer is one that the type has, and every float one of f16.
void expect_fits(const weights::BlockWeight& weight, const weights::BlockType& type) {
  const auto inside = [](const at::Tensor& integers, int offset, const weights::IntegerRange& range) {
    if (!integers.defined()) return true;
    const auto whole = wide(integers) - offset;
    return range.contains(whole.min().item<int>()) && range.contains(whole.max().item<int>());
  };
  EXPECT_TRUE(inside(weight.codes, 128, type.codes));
  EXPECT_TRUE(inside(weight.sub_scales, 0, type.sub_scales));
  EXPECT_TRUE(inside(weight.sub_minima, 0, type.sub_minima));
  EXPECT_EQ(weight.minima.defined(), type.has_minimum);
  EXPECT_TRUE(weight.scales.to(at::kHalf).to(at::kFloat).equal(weight.scales));
  for (const auto code : type.curve.empty() ? std::vector<int>() : std::vector<int>{0, 2}) {
    EXPECT_FALSE((weight.codes == 128 + code).any().item<bool>()) << code;  // between entries of the curve
  }
}

// The oracle tries all scales of f16; for nested types a part of them, with all integers.
TEST(BlockSearch, IsNearTheBestOfAllScales) {
  for (const auto& row : test::oracle_cases("blocks")) {
    const std::string name = row.at("type");
    SCOPED_TRACE(name);
    const auto& type = find_block_type(name);
    const auto values = test::oracle_array("blocks_" + name + "_values");
    const auto importance = test::oracle_array("blocks_" + name + "_importance");
    const auto least = wide(test::oracle_array("blocks_" + name + "_errors"));
    for (const auto device : test::devices()) {
      const auto grid = search_blocks(values.to(device), importance.to(device), type);
      const auto lines = sub_grid(grid);
      const auto codes =
          nearest_codes(values.to(device).view({values.size(0), -1, type.sub_size}), lines.scales, lines.minima, type);
      const auto found = block_errors(values, importance, block_weight(codes.view(values.sizes()), grid, type));
      const auto share = found.squeeze(1) / least;
      EXPECT_LT(share.max().item<double>(), 1.3) << share;
      EXPECT_LT(share.mean().item<double>(), 1.1) << share;
      if (row.at("every_scale").get<bool>()) {
        EXPECT_GT(share.min().item<double>(), 1 - 1e-5) << share;  // nothing is below the least
      }
    }
  }
}

TEST_P(BlockTypes, RoundAWeight) {
  const auto& type = GetParam();
  for (const auto device : test::devices()) {
    const auto weight = (at::randn({24, 512}) * 0.05).to(device);
    const auto rounded = quantize_blocks(weight, type);
    expect_fits(rounded, type);
    EXPECT_EQ(rounded.type_name, type.name);
    EXPECT_EQ(rounded.bits, type.bits());
    const auto spread = wide(weight).square().sum().item<double>();
    const auto share = block_errors(weight, at::ones({512}), rounded).sum().item<double>() / spread;
    // The step of a normal weight's range with as many codes, squared and over 12, with room for a half more.
    const double step = 5.6 / type.code_count();
    EXPECT_LT(share, step * step / 12 * 1.5 + 1e-6);
    EXPECT_TRUE(quantize_blocks(weight, type).codes.equal(rounded.codes));
  }
}

TEST_P(BlockTypes, FavourImportantColumns) {
  const auto& type = GetParam();
  const auto weight = at::randn({16, 256}) * 0.05;
  const auto importance = at::rand({256}).pow(4);
  const auto plain = quantize_blocks(weight, type), weighted = quantize_blocks(weight, type, importance);
  EXPECT_LT(block_errors(weight, importance, weighted).sum().item<double>(),
            block_errors(weight, importance, plain).sum().item<double>());
}

// Blocks of zeros, of one value, of no importance, and of values below the least f16.
TEST_P(BlockTypes, RoundUnusualBlocks) {
  const auto& type = GetParam();
  const auto weight = at::randn({5, 256}) * 0.05;
  weight[0].zero_();
  weight[1].fill_(0.03);
  weight[2] *= 1e-9;
  weight[3].abs_();
  auto importance = at::ones({256});
  importance.slice(0, 0, 64).zero_();
  const auto rounded = quantize_blocks(weight, type, importance);
  expect_fits(rounded, type);
  const auto values = weights::dequantize(rounded);
  EXPECT_TRUE(values.isfinite().all().item<bool>());
  EXPECT_EQ(values[0].abs().max().item<double>(), 0);
  EXPECT_LT((values[1] - 0.03).abs().max().item<double>(), 0.001);
  EXPECT_LT(values[2].abs().max().item<double>(), 1e-6);
  const auto unused = (values - weight).slice(0, 3).slice(1, 0, 64).square().mean().item<double>();
  EXPECT_LT(unused, 0.05 * 0.05 * 0.25);  // rounded all the same
}

INSTANTIATE_TEST_SUITE_P(All, BlockTypes, testing::ValuesIn(weights::kBlockTypes),
                         [](const auto& row) { return std::string(row.param.name); });

std::string message_of(const at::Tensor& weight, std::string_view type, const at::Tensor& importance = {}) {
  try {
    quantize_blocks(weight, find_block_type(type), importance);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(BlockSearch, RefusesByName) {
  EXPECT_EQ(message_of(at::zeros({2, 320}), "Q4_K"), "320 columns are no whole blocks of Q4_K, which have 256");
  EXPECT_NE(message_of(at::zeros({2, 256}), "Q4_9").find("there are Q4_0, Q4_1"), std::string::npos);
  EXPECT_NE(message_of(at::ones({2, 256}) * 1e9, "Q4_K").find("float16"), std::string::npos);
  EXPECT_NE(message_of(at::ones({2, 256}), "Q4_0", at::ones({255})).find("256 input columns"), std::string::npos);
  EXPECT_NE(message_of(at::ones({2, 256}), "Q4_0", -at::ones({256})).find("below 0"), std::string::npos);
}

}  // namespace
}  // namespace normtweak::quantize
