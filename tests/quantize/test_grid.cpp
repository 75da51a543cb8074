#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "normtweak/base/error.h"
#include "normtweak/quantize/grid.h"
#include "support/devices.h"

namespace normtweak::quantize {
namespace {

double total_error(const at::Tensor& groups, const Grid& grid, const AffineOptions& options) {
  const auto error = nearest_steps(groups, grid, options) * grid.scales.unsqueeze(-1) - groups;
  return error.abs().pow(2.4).sum(at::kDouble).item<double>();
}

TEST(Grid, SearchIsNeverWorseThanTheRange) {
  const auto groups = at::randn({64, 3, 48});
  groups.select(2, 5).mul_(6);
  for (const int bits : {2, 3, 4, 6, 8}) {
    for (const bool symmetric : {false, true}) {
      const AffineOptions options = {.bits = bits, .symmetric = symmetric};
      EXPECT_LE(total_error(groups, search_grid(groups, options), options),
                total_error(groups, range_grid(groups, options), options));
    }
  }
}

// The least sum of |error|^2.4 over the grids of 100%, 99%, ... 21% of each row's range, in double: f64 [rows].
at::Tensor least_of_all_shares(const at::Tensor& groups, const AffineOptions& options) {
  at::Tensor least;
  for (int step = 0; step < 80; ++step) {
    // A grid of part of the range is that of a row with nothing outside it.
    const auto share = static_cast<float>(1 - step * 0.01);
    const auto low = groups.amin(-1).clamp_max(0) * share, high = groups.amax(-1).clamp_min(0) * share;
    const auto grid = range_grid(at::stack({low, high}, -1), options);
    const auto error = nearest_steps(groups, grid, options) * grid.scales.unsqueeze(-1) - groups;
    const auto sum = error.to(at::kDouble).abs().pow(2.4).sum(-1);
    least = least.defined() ? at::minimum(least, sum) : sum;
  }
  return least;
}

TEST(Grid, SearchFindsTheBest) {
  for (const auto device : test::devices()) {
    for (const auto size : {1, 3, 64, 300}) {
      for (const bool float_zeros : {false, true}) {
        for (const bool symmetric : {false, true}) {
          if (float_zeros && symmetric) continue;
          const AffineOptions options = {
              .bits = 3, .symmetric = symmetric, .float_zeros = float_zeros, .search_grid = true};
          const auto groups = (at::randn({37, size}) * 0.02 + 0.01).to(device);
          const auto grid = search_grid(groups, options);
          const auto error = nearest_steps(groups, grid, options) * grid.scales.unsqueeze(-1) - groups;
          const auto found = error.to(at::kDouble).abs().pow(2.4).sum(-1);
          const auto least = least_of_all_shares(groups, options);
          EXPECT_LE(((found - least) / (least + 1e-12)).max().item<double>(), 1e-4)
              << device << " " << size << " " << float_zeros << symmetric;
        }
      }
    }
  }
}

// Some smaller share of the range would fit the type: it is not for the search to cut the weights off.
TEST(Grid, SearchDoesNotHideAScaleThatOverflows) {
  for (const auto device : test::devices()) {
    const auto groups = at::randn({3, 20}).to(device);
    groups[1][7] = 15 * 70000.0;
    const auto scales = search_grid(groups, {.search_grid = true}).scales;
    EXPECT_TRUE(scales[0].isfinite().item<bool>());
    EXPECT_FALSE(scales[1].isfinite().item<bool>());
  }
}

TEST(Grid, SearchDoesNotDependOnTiles) {
  const auto groups = at::randn({4000, 40});
  const auto whole = search_grid(groups, {});
  const auto part = search_grid(groups.narrow(0, 1234, 500), {});
  EXPECT_TRUE(whole.scales.narrow(0, 1234, 500).equal(part.scales));
  EXPECT_TRUE(whole.zeros.narrow(0, 1234, 500).equal(part.zeros));
}

TEST(Grid, ScalesAreNormalNumbersOfTheirType) {
  for (const auto type : {at::kHalf, at::kBFloat16, at::kFloat}) {
    const auto grid = fit_grid(at::zeros({2, 8}), {.scale_type = type});
    EXPECT_GE(grid.scales.min().item<float>(), type == at::kHalf ? 0x1p-14F : 0x1p-126F);
    EXPECT_TRUE(grid.scales.equal(grid.scales.to(type).to(at::kFloat)));
  }
}

// F16 in a file whose readers load everything in bf16.
TEST(Grid, ScalesAreValuesOfWhatTheyAreStoredAndLoadedIn) {
  auto groups = at::randn({500, 16});
  groups.select(0, 7).zero_();
  const auto is_value_of = [](const at::Tensor& scales, at::ScalarType type) {
    return scales.to(type).to(at::kFloat).equal(scales);
  };
  for (const bool searches : {false, true}) {
    const auto grid =
        fit_grid(groups, {.bits = 4, .search_grid = searches, .scale_type = at::kHalf, .loaded_type = at::kBFloat16});
    EXPECT_TRUE(is_value_of(grid.scales, at::kHalf));
    EXPECT_TRUE(is_value_of(grid.scales, at::kBFloat16));
    EXPECT_GE(grid.scales.min().item<float>(), 0x1p-14F);
  }
  EXPECT_FALSE(is_value_of(fit_grid(groups, {.bits = 4}).scales, at::kBFloat16));
  const auto large = fit_grid(at::full({1, 8}, 65500.F * 15), {.bits = 4, .loaded_type = at::kBFloat16}).scales;
  EXPECT_THROW(check_scales(large, at::kHalf), Error);  // a value of F16 that bf16 rounds to one that F16 lacks
  EXPECT_NO_THROW(check_scales(fit_grid(at::full({1, 8}, 65500.F * 15), {.bits = 4}).scales, at::kHalf));
  // And one that bf16 rounds to such a value, in a file that readers load in F16.
  const AffineOptions loads_half = {.bits = 4, .scale_type = at::kBFloat16, .loaded_type = at::kHalf};
  EXPECT_THROW(check_scales(fit_grid(at::full({1, 8}, 65450.F * 15), loads_half).scales, at::kBFloat16, at::kHalf),
               Error);
}

TEST(Grid, ZeroPointsAreCodes) {
  const auto groups = at::randn({100, 16}) + 0.5;
  const auto grid = fit_grid(groups, {.bits = 3});
  EXPECT_TRUE(grid.zeros.equal(grid.zeros.round()));
  EXPECT_GE(grid.zeros.min().item<float>(), 0);
  EXPECT_LE(grid.zeros.max().item<float>(), 7);
}

}  // namespace
}  // namespace normtweak::quantize
