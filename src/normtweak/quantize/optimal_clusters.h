// One-dimensional k-means, solved exactly by dynamic programming instead of Lloyd's iterations from a random start.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace normtweak::quantize {

// Finds the clusters that minimise Σ weight · (value - centre)². Reuses its memory between calls.
//
// In one dimension the clusters are runs of the sorted values (Wang and Song, "Ckmeans.1d.dp", R Journal 3/2, 2011):
//     cost[m][i] = min over j of cost[m-1][j-1] + spread(j..i)
// The best j never falls as i or m grows. Halving the range of i (divide and conquer) then costs about
// clusters · n · log n; going through i from the right, between the best j of [m-1][i] and of [m][i+1] (Knuth), costs
// clusters · n + n² / 2, which is less for many clusters.
class OptimalClusters {
 public:
  // values: ascending; weights: positive, one per value. Returns the centres, ascending: `clusters` of them, or one per
  // distinct value if there are fewer.
  std::vector<double> centres(std::span<const double> values, std::span<const double> weights, int clusters);

 private:
  void sum_up(std::span<const double> values, std::span<const double> weights);
  double spread(std::int64_t first, std::int64_t last) const;
  void fill_from_right(std::int64_t layer, std::int64_t first);
  void fill_by_halves(std::int64_t layer, std::int64_t first, std::int64_t last, std::int64_t low, std::int64_t high);

  std::int64_t find_start(std::int64_t layer, std::int64_t last, std::int64_t low, std::int64_t high);

  std::int64_t count_ = 0;        // distinct values
  double origin_ = 0;             // values are summed relative to it, so that squares do not cancel
  std::vector<double> distinct_;  // ascending
  std::vector<double> weight_sum_, sum_, square_sum_;  // over the first i distinct values, weighted; count + 1 entries
  std::vector<double> former_, present_;               // cost of the layer before and of this one
  std::vector<std::int32_t> start_;                    // [layer, i]: where the last cluster of values 0..i begins
};

}  // namespace normtweak::quantize
