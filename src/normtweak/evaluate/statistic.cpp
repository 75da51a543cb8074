#include "normtweak/evaluate/statistic.h"

#include <algorithm>
#include <cmath>

namespace normtweak::evaluate {

double Statistic::mean() const { return count > 0 ? sum / static_cast<double>(count) : 0; }

double Statistic::standard_error() const {
  if (count < 2) return 0;
  const auto n = static_cast<double>(count);
  return std::sqrt(std::max(0.0, squares / n - mean() * mean()) / (n - 1));
}

void Statistic::add(const at::Tensor& values) {
  const auto exact = values.to(at::kDouble);
  sum += exact.sum().item<double>();
  squares += exact.square().sum().item<double>();
  count += exact.numel();
}

void Statistic::add(double value) {
  sum += value;
  squares += value * value;
  ++count;
}

void Statistic::add(const Statistic& other) {
  sum += other.sum;
  squares += other.squares;
  count += other.count;
}

}  // namespace normtweak::evaluate
