#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>

#include "normtweak/base/device/device.h"
#include "normtweak/base/error.h"
#include "normtweak/quantize/codebook_descent.h"
#include "normtweak/quantize/gptq.h"
#include "normtweak/quantize/gptq_run.h"
#include "normtweak/quantize/hessian.h"
#include "oracle.h"
#include "support/devices.h"

namespace normtweak::quantize {
namespace {

constexpr double kAdded = 0.02;

at::Tensor hessian_of(std::int64_t tokens, std::int64_t in) {
  const auto inputs = at::matmul(at::randn({tokens, in}), at::randn({in, in}) / std::sqrt(in) + at::eye(in));
  return at::matmul(inputs.t(), inputs) / tokens;
}

at::Tensor wide(const at::Tensor& tensor) { return tensor.cpu().to(at::kDouble); }

// As for affine grids, a value that F32 puts on the other side of a middle takes some of the columns after it along,
// and with float feedback the codebooks of later groups.
TEST(GptqOnCodebooks, EqualsTheColumnByColumnAlgorithm) {
  for (const auto& device : test::devices()) {
    const auto weight = test::oracle_array("codebooks_weight").to(device);
    const auto hessian = test::oracle_array("codebooks_hessian").to(device);
    for (const auto& facts : test::oracle_cases("codebooks")) {
      const auto name = facts.at("name").get<std::string>();
      SCOPED_TRACE(name + " on " + device.str());
      const auto factor = factor_hessian(hessian, {.damping = facts.at("damping"), .act_order = facts.at("act_order")});
      const auto found = quantize_gptq(weight, factor,
                                       {.bits = facts.at("bits"),
                                        .group_size = facts.at("group"),
                                        .codebook_type = parse_float_type(facts.at("scale_type").get<std::string>())});
      const auto close = [&](const at::Tensor& ours, const std::string& part) {
        const auto theirs = test::oracle_array(name + part);
        return (ours.cpu() - theirs).abs().le(theirs.abs() * 1e-3 + 1e-6).to(at::kDouble).mean().item<double>();
      };
      EXPECT_GE(close(found.codebook, "_codebooks"), 0.98);
      EXPECT_GE(close(weights::dequantize(found), "_values"), 0.98);
      const double expected = facts.at("layer_error");
      const auto error = layer_error(weight, weights::dequantize(found), hessian);
      EXPECT_NEAR(error, expected, 5e-3 * expected);
    }
  }
}

// Codebooks that hold the steps of an affine grid.
class UniformCodebooks : public GptqGrid {
 public:
  explicit UniformCodebooks(const weights::AffineWeight& grid) : group_size_(grid.group_size) {
    const auto steps = at::arange(1 << grid.bits, at::kFloat).view({1, -1, 1});
    const auto columns = [](const at::Tensor& channels) { return padded_columns(channels, 1).unsqueeze(1); };
    entries_ = ((steps - columns(grid.zeros)) * columns(grid.scales)).contiguous();
  }
  std::int64_t span() const override { return group_size_; }
  void fit(std::int64_t, const at::Tensor&, const at::Tensor&) override {}
  ColumnGrids grids(std::int64_t first, std::int64_t last) const override {
    return {.codebooks = entries_.slice(0, first / group_size_),
            .grid_of = grid_of_columns(first, last, group_size_, entries_.device())};
  }

 private:
  std::int64_t group_size_;
  at::Tensor entries_;
};

TEST(GptqOnCodebooks, IsAffineGptqOnAUniformGrid) {
  const auto weight = at::randn({40, 192}), hessian = hessian_of(400, 192);
  for (const int bits : {2, 4, 8}) {
    for (const bool act_order : {false, true}) {
      const auto factor = factor_hessian(hessian, {.act_order = act_order});
      const auto affine = quantize_gptq(weight, factor, AffineOptions{.bits = bits, .group_size = 32});
      UniformCodebooks grid(affine);
      const auto found = run_gptq(padded_columns(weight), factor, grid);
      const auto codes = found.t().slice(0, 0, 40).to(at::kByte);
      EXPECT_GE(codes.eq(affine.codes).to(at::kDouble).mean().item<double>(), 0.998) << bits << act_order;
    }
  }
}

TEST(GptqOnCodebooks, IsKmeansForInputsWithoutCorrelation) {
  const auto weight = at::randn({30, 96});
  for (const int group : {0, 32}) {
    for (const auto& hessian : {at::eye(96), at::zeros({96, 96})}) {  // zeros: no token ever reached the linear
      const KmeansOptions options = {.bits = 3, .group_size = group};
      const auto found = quantize_gptq(weight, factor_hessian(hessian, {}), options);
      const auto plain = quantize_kmeans(weight, {}, options);
      EXPECT_TRUE(weights::dequantize(found).equal(weights::dequantize(plain)));
    }
  }
}

TEST(GptqOnCodebooks, BeatsKmeansWithSensitivity) {
  const auto weight = at::randn({40, 128}), hessian = hessian_of(512, 128);
  for (const bool act_order : {false, true}) {
    const KmeansOptions options = {.bits = 3, .group_size = 64};
    const auto found = quantize_gptq(weight, factor_hessian(hessian, {.act_order = act_order}), options);
    const auto plain = quantize_kmeans(weight, hessian.diagonal(), options);
    EXPECT_LT(layer_error(weight, weights::dequantize(found), hessian),
              0.85 * layer_error(weight, weights::dequantize(plain), hessian));
  }
}

TEST(GptqOnCodebooks, RefusesWhatItCannotDo) {
  const auto factor = factor_hessian(hessian_of(100, 8), {});
  EXPECT_THROW(quantize_gptq(at::ones({2, 6}), factor, KmeansOptions{}), Error);
  EXPECT_THROW(quantize_gptq(at::ones({2, 8}), factor, KmeansOptions{.group_size = 3}), Error);
  EXPECT_THROW(quantize_gptq(at::ones({2, 8}), factor, KmeansOptions{.bits = 7}), Error);
  EXPECT_THROW(quantize_gptq(at::ones({2, 8}) * 1e7, factor, KmeansOptions{}), Error);
}

at::Tensor damped(const at::Tensor& hessian) {
  return wide(hessian) + kAdded * at::eye(hessian.size(0), at::TensorOptions(at::kDouble));
}

// [out]
at::Tensor channel_errors(const weights::CodebookWeight& rounded, const at::Tensor& weight, const at::Tensor& hessian) {
  const auto error = wide(weight) - wide(weights::dequantize(rounded));
  return (at::matmul(error, damped(hessian)) * error).sum(1);
}

TEST(CodebookDescent, NeverMakesAChannelWorse) {
  const auto weight = at::randn({27, 160}), hessian = hessian_of(800, 160);
  for (const auto& device : test::devices()) {
    for (const int bits : {2, 3, 4, 8}) {
      for (const int group : {0, 32}) {
        auto rounded = quantize_kmeans(weight.to(device), {}, {.bits = bits, .group_size = group});
        auto before = channel_errors(rounded, weight, hessian);
        const auto first = before.sum().item<double>();
        for (int sweep = 0; sweep < 2; ++sweep) {
          descend(rounded, weight.to(device), hessian.to(device), kAdded, 1);
          const auto after = channel_errors(rounded, weight, hessian);
          EXPECT_LT((after - before * (1 + 1e-4)).max().item<double>(), 1e-9) << bits << " bits, sweep " << sweep;
          before = after;
        }
        if (bits < 8) {
          EXPECT_LT(before.sum().item<double>(), 0.9 * first) << bits;
        }
        const auto entries = rounded.codebook.view({27, -1, 1 << bits});
        EXPECT_TRUE(entries.diff().ge(0).all().item<bool>());
        EXPECT_TRUE(rounded.codebook.equal(rounded.codebook.to(at::kHalf).to(at::kFloat)));
      }
    }
  }
}

// One sweep as the header writes it, in F64, a group of 32 columns and then a weight at a time.
void plain_sweep(weights::CodebookWeight& rounded, const at::Tensor& weight, const at::Tensor& hessian) {
  const auto h = damped(hessian), w = wide(weight);
  const auto in = weight.size(1), size = std::int64_t{32}, entries = std::int64_t{1} << rounded.bits;
  const auto values = wide(weights::dequantize(rounded)), books = wide(rounded.codebook), codes = wide(rounded.codes);
  for (std::int64_t o = 0; o < weight.size(0); ++o) {
    for (std::int64_t begin = 0; begin < in; begin += size) {
      const auto book = books[o].narrow(0, begin / size * entries, entries);
      const auto own = codes[o].narrow(0, begin, size);
      const auto picks = (own.unsqueeze(1) == at::arange(entries).unsqueeze(0)).to(at::kDouble);  // [columns, entries]
      const auto matrix = at::matmul(picks.t(), at::matmul(h.narrow(0, begin, size).narrow(1, begin, size), picks));
      const auto right = at::matmul(picks.t(), at::matmul(h.narrow(0, begin, size), w[o] - values[o]));
      matrix.diagonal().mul_(1 + 1e-3).add_(1e-30);
      book.add_(at::matmul(matrix.inverse(), right));
      book.copy_(std::get<0>(book.sort()));
      values[o].narrow(0, begin, size).copy_(book.index_select(0, own.to(at::kLong)));
      for (auto k = begin; k < begin + size; ++k) {
        const auto others = at::matmul(w[o] - values[o], h[k]) - (w[o][k] - values[o][k]) * h[k][k];
        const auto place = (book - (w[o][k] + others / h[k][k])).abs().argmin();
        codes[o][k] = place;
        values[o][k] = book[place];
      }
    }
  }
  rounded.codes = codes.to(at::kByte);
  rounded.codebook = books.to(at::kFloat);
}

TEST(CodebookDescent, IsThePlainSweep) {
  const auto weight = at::randn({6, 96}), hessian = hessian_of(500, 96);
  const auto start = quantize_kmeans(weight, {}, {.bits = 2, .group_size = 32, .codebook_type = at::kFloat});
  auto expected = start;
  plain_sweep(expected, weight, hessian);
  for (const auto& device : test::devices()) {
    auto found = start;
    found.codes = found.codes.to(device);
    found.codebook = found.codebook.to(device);
    descend(found, weight.to(device), hessian.to(device), kAdded, 1);
    // A GPU's products are TF32, which moves the entries, and the codes of weights in the middle of two.
    const auto [tolerance, least] = device.is_cuda() ? std::pair(5e-3, 0.9) : std::pair(1e-4, 0.98);
    const auto close = (wide(weights::dequantize(found)) - wide(weights::dequantize(expected))).abs().lt(tolerance);
    EXPECT_GT(close.to(at::kDouble).mean().item<double>(), least) << device.str();
    EXPECT_LT(wide(found.codes).eq(wide(start.codes)).to(at::kDouble).mean().item<double>(), 0.95);
  }
}

// Columns that no token used, and channels of zeros, whose normal equations are singular.
TEST(CodebookDescent, LeavesDeadColumnsAndEmptyChannelsAlone) {
  const auto weight = at::randn({24, 160}), hessian = hessian_of(800, 160);
  weight.select(0, 5).zero_();
  hessian.slice(0, 32, 64).zero_();
  hessian.slice(1, 32, 64).zero_();
  const auto start = quantize_kmeans(weight, {}, {.bits = 3, .group_size = 32});
  auto found = start;
  descend(found, weight, hessian, kAdded, 2);
  EXPECT_TRUE(found.codes.slice(1, 32, 64).equal(start.codes.slice(1, 32, 64)));
  EXPECT_TRUE(found.codebook.slice(1, 8, 16).equal(start.codebook.slice(1, 8, 16)));
  EXPECT_EQ(weights::dequantize(found).select(0, 5).abs().max().item<float>(), 0);
}

}  // namespace
}  // namespace normtweak::quantize
