#include "normtweak/quantize/grid.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

namespace normtweak::quantize {
namespace {

double total_error(const at::Tensor& groups, const Grid& grid, const GridOptions& options) {
  const auto error = nearest_steps(groups, grid, options) * grid.scales.unsqueeze(-1) - groups;
  return error.abs().pow(2.4).sum(at::kDouble).item<double>();
}

TEST(Grid, SearchIsNeverWorseThanTheRange) {
  const auto groups = at::randn({64, 3, 48});
  groups.select(2, 5).mul_(6);
  for (const int bits : {2, 3, 4, 6, 8}) {
    for (const bool symmetric : {false, true}) {
      const GridOptions options = {.bits = bits, .symmetric = symmetric};
      EXPECT_LE(total_error(groups, search_grid(groups, options), options),
                total_error(groups, range_grid(groups, options), options));
    }
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

TEST(Grid, ZeroPointsAreCodes) {
  const auto groups = at::randn({100, 16}) + 0.5;
  const auto grid = fit_grid(groups, {.bits = 3});
  EXPECT_TRUE(grid.zeros.equal(grid.zeros.round()));
  EXPECT_GE(grid.zeros.min().item<float>(), 0);
  EXPECT_LE(grid.zeros.max().item<float>(), 7);
}

}  // namespace
}  // namespace normtweak::quantize
