#include "normtweak/quantize/optimal_clusters.h"

#include <algorithm>
#include <limits>

namespace normtweak::quantize {

void OptimalClusters::sum_up(std::span<const double> values, std::span<const double> weights) {
  const auto most = values.size() + 1;
  distinct_.clear();
  weight_sum_.assign(1, 0);
  sum_.assign(1, 0);
  square_sum_.assign(1, 0);
  for (auto* sums : {&distinct_, &weight_sum_, &sum_, &square_sum_}) sums->reserve(most);
  origin_ = values.empty() ? 0 : values[values.size() / 2];
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double weight = weights[i], value = values[i] - origin_;
    if (i > 0 && values[i] == values[i - 1]) {  // bf16 weights repeat a lot: equal values are merged
      weight_sum_.back() += weight;
      sum_.back() += weight * value;
      square_sum_.back() += weight * value * value;
      continue;
    }
    distinct_.push_back(values[i]);
    weight_sum_.push_back(weight_sum_.back() + weight);
    sum_.push_back(sum_.back() + weight * value);
    square_sum_.push_back(square_sum_.back() + weight * value * value);
  }
  count_ = static_cast<std::int64_t>(distinct_.size());
}

// Σ weight · (value - mean)² of the values first..last.
double OptimalClusters::spread(std::int64_t first, std::int64_t last) const {
  const auto from = static_cast<std::size_t>(first), to = static_cast<std::size_t>(last) + 1;
  const double sum = sum_[to] - sum_[from];
  return square_sum_[to] - square_sum_[from] - sum * sum / (weight_sum_[to] - weight_sum_[from]);
}

// Finds the start of the last cluster of values 0..last, within low..high; fills in present_ and start_.
std::int64_t OptimalClusters::find_start(std::int64_t layer, std::int64_t last, std::int64_t low, std::int64_t high) {
  const auto at = static_cast<std::size_t>(layer * count_ + last);
  const auto from = std::max({low, layer, std::int64_t{start_[at - static_cast<std::size_t>(count_)]}});
  const auto to = std::min(high, last);
  double least = std::numeric_limits<double>::infinity();
  auto best = from;
  for (auto start = from; start <= to; ++start) {
    const double cost = former_[static_cast<std::size_t>(start) - 1] + spread(start, last);
    if (cost < least) {
      least = cost;
      best = start;
    }
  }
  present_[static_cast<std::size_t>(last)] = least;
  start_[at] = static_cast<std::int32_t>(best);
  return best;
}

void OptimalClusters::fill_by_halves(std::int64_t layer, std::int64_t first, std::int64_t last, std::int64_t low,
                                     std::int64_t high) {
  if (first > last) return;
  const auto middle = (first + last) / 2;
  const auto best = find_start(layer, middle, low, high);
  fill_by_halves(layer, first, middle - 1, low, best);
  fill_by_halves(layer, middle + 1, last, best, high);
}

void OptimalClusters::fill_from_right(std::int64_t layer, std::int64_t first) {
  auto best = count_ - 1;
  for (auto last = count_ - 1; last >= first; --last) best = find_start(layer, last, layer, best);
}

std::vector<double> OptimalClusters::centres(std::span<const double> values, std::span<const double> weights,
                                             int clusters) {
  sum_up(values, weights);
  if (count_ <= clusters) return distinct_;
  const auto size = static_cast<std::size_t>(count_);
  former_.resize(size);
  present_.resize(size);
  start_.assign(size * static_cast<std::size_t>(clusters), 0);
  for (std::int64_t i = 0; i < count_; ++i) former_[static_cast<std::size_t>(i)] = spread(0, i);
  const bool many = std::int64_t{clusters} * 16 > count_;  // measured break-even of the two methods
  for (std::int64_t layer = 1; layer < clusters; ++layer) {
    // With `layer` clusters before it, the last one cannot begin before value `layer`. Of the last layer only the final
    // entry is needed.
    const auto first = layer + 1 == clusters ? count_ - 1 : layer;
    many ? fill_from_right(layer, first) : fill_by_halves(layer, first, count_ - 1, layer, count_ - 1);
    former_.swap(present_);
  }

  std::vector<double> found(static_cast<std::size_t>(clusters));
  auto last = count_ - 1;
  for (std::int64_t layer = clusters - 1; layer >= 0; --layer) {
    const auto first = std::int64_t{start_[static_cast<std::size_t>(layer * count_ + last)]};
    const auto from = static_cast<std::size_t>(first), to = static_cast<std::size_t>(last) + 1;
    found[static_cast<std::size_t>(layer)] = origin_ + (sum_[to] - sum_[from]) / (weight_sum_[to] - weight_sum_[from]);
    last = first - 1;
  }
  return found;
}

}  // namespace normtweak::quantize
