#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "normtweak/base/error.h"
#include "normtweak/quantize/kmeans.h"
#include "normtweak/quantize/optimal_clusters.h"
#include "oracle.h"

namespace normtweak::quantize {
namespace {

at::Tensor inertia(const at::Tensor& weight, const weights::CodebookWeight& found, const at::Tensor& column_weights) {
  const auto error = (weights::dequantize(found) - weight).to(at::kDouble);
  return (error.square() * column_weights).sum(1);
}

// The optimum is never worse than a local one; the margin is the rounding of F32 entries, and of the F32 file of the
// oracle's figures.
TEST(Kmeans, IsNeverWorseThanScikitLearn) {
  const auto sensitivity = test::oracle_array("kmeans_sensitivity");
  for (const auto& facts : test::oracle_cases("kmeans")) {
    const auto name = facts.at("name").get<std::string>();
    SCOPED_TRACE(name);
    const bool weighted = facts.at("weighted");
    const auto weight = test::oracle_array("kmeans_" + facts.at("kind").get<std::string>() + "_weight");
    const auto found = quantize_kmeans(weight, weighted ? sensitivity : at::Tensor(),
                                       {.bits = facts.at("bits"), .codebook_type = at::kFloat});
    const auto ours = inertia(weight, found, weighted ? sensitivity : at::ones_like(sensitivity));
    const auto theirs = test::oracle_array(name + "_inertia").to(at::kDouble);
    EXPECT_TRUE((ours <= theirs * (1 + 1e-6) + 1e-9).all().item<bool>()) << ours << theirs;
  }
}

double cost_of(const std::vector<double>& values, const std::vector<double>& centres) {
  double cost = 0;
  for (const double value : values) {
    double least = std::numeric_limits<double>::infinity();
    for (const double centre : centres) least = std::min(least, (value - centre) * (value - centre));
    cost += least;
  }
  return cost;
}

double best_cost(const std::vector<double>& values, std::size_t first, int clusters) {  // tries all partitions
  if (first == values.size()) return 0;
  if (clusters == 0) return std::numeric_limits<double>::infinity();
  double best = std::numeric_limits<double>::infinity();
  for (auto last = first + 1; last <= values.size(); ++last) {
    const std::vector<double> run(values.begin() + static_cast<std::ptrdiff_t>(first),
                                  values.begin() + static_cast<std::ptrdiff_t>(last));
    const double mean = std::accumulate(run.begin(), run.end(), 0.0) / static_cast<double>(run.size());
    best = std::min(best, cost_of(run, {mean}) + best_cost(values, last, clusters - 1));
  }
  return best;
}

TEST(OptimalClusters, AreTheBestOfAllPartitions) {
  OptimalClusters clusters;
  for (int trial = 0; trial < 50; ++trial) {
    const auto drawn = std::get<0>(at::randn({11}, at::kDouble).sort());
    const std::vector<double> values(drawn.const_data_ptr<double>(), drawn.const_data_ptr<double>() + 11);
    for (const int count : {1, 2, 4, 7, 11}) {
      const auto centres = clusters.centres(values, std::vector<double>(11, 1.0), count);
      EXPECT_EQ(centres.size(), static_cast<std::size_t>(count));
      EXPECT_NEAR(cost_of(values, centres), best_cost(values, 0, count), 1e-12);
    }
  }
}

TEST(OptimalClusters, FewAndManyAgreeOnLongRows) {  // few are found by halves, many from the right
  constexpr int kCount = 4000;
  std::vector<double> values(kCount);
  for (int i = 0; i < kCount; ++i) values[static_cast<std::size_t>(i)] = i;
  OptimalClusters clusters;
  for (const int count : {200, 400}) {  // equal distances: the best runs are all of the same length
    const double run = kCount / count;
    const auto centres = clusters.centres(values, std::vector<double>(kCount, 1.0), count);
    EXPECT_NEAR(cost_of(values, centres), count * run * (run * run - 1) / 12, 1e-6);
  }
}

TEST(Kmeans, CodebooksAscendAndCodesAreTheNearest) {
  const auto weight = at::randn({12, 300});
  for (const auto type : {at::kHalf, at::kBFloat16, at::kFloat}) {
    const auto found = quantize_kmeans(weight, {}, {.bits = 4, .codebook_type = type});
    EXPECT_TRUE(found.codebook.diff().ge(0).all().item<bool>());
    EXPECT_TRUE(found.codebook.equal(found.codebook.to(type).to(at::kFloat)));
    const auto least = std::get<0>((weight.unsqueeze(-1) - found.codebook.unsqueeze(1)).abs().min(-1));
    EXPECT_TRUE((weights::dequantize(found) - weight).abs().allclose(least));
  }
}

TEST(Kmeans, GroupsAreQuantizedApart) {
  const auto weight = at::randn({12, 96}), sensitivity = at::rand({96});
  sensitivity.slice(0, 32, 64).zero_();  // columns that no token reached
  const auto found = quantize_kmeans(weight, sensitivity, {.bits = 2, .group_size = 32});
  EXPECT_EQ(found.codebook.sizes(), (std::vector<std::int64_t>{12, 12}));
  EXPECT_DOUBLE_EQ(weights::bits_per_weight(found), 2 + 4 * 16 / 32.0);
  for (std::int64_t first = 0; first < 96; first += 32) {
    const auto columns = [first](const at::Tensor& all) { return all.slice(-1, first, first + 32).contiguous(); };
    const auto alone = quantize_kmeans(columns(weight), columns(sensitivity), {.bits = 2});
    EXPECT_TRUE(columns(found.codes).equal(alone.codes));
    EXPECT_TRUE(columns(weights::dequantize(found)).equal(weights::dequantize(alone)));
  }
}

TEST(Kmeans, IsExactWhereEntriesAreEnough) {
  const auto weight = (at::arange(24).view({2, 12}) % 5 - 2).to(at::kFloat) * 0.25;
  EXPECT_TRUE(weights::dequantize(quantize_kmeans(weight, {}, {.bits = 3})).equal(weight));
  EXPECT_TRUE(weights::dequantize(quantize_kmeans(weight, at::zeros({12}), {.bits = 8})).equal(weight));
}

TEST(Kmeans, RefusesWhatItCannotDo) {
  auto nan = at::ones({2, 8});
  nan[0][0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(quantize_kmeans(nan, {}, {}), Error);
  EXPECT_THROW(quantize_kmeans(at::ones({2, 8}), {}, {.bits = 5}), Error);
  EXPECT_THROW(quantize_kmeans(at::ones({2, 8}) * 1e6, {}, {}), Error);
  EXPECT_THROW(quantize_kmeans(at::ones({2, 8}), {}, {.group_size = 3}), Error);
  EXPECT_THROW(quantize_kmeans(at::ones({2, 8}), at::ones({7}), {}), Error);
  EXPECT_THROW(quantize_kmeans(at::ones({2, 8}), -at::ones({8}), {}), Error);
  EXPECT_THROW(quantize_kmeans(at::ones({2, 8}), nan.select(0, 0), {}), Error);
}

}  // namespace
}  // namespace normtweak::quantize
