#include "normtweak/quantize/codebook_fit.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "normtweak/base/device/finite.h"
#include "normtweak/base/device/type_name.h"
#include "normtweak/base/error.h"
#include "normtweak/quantize/optimal_clusters.h"

namespace normtweak::quantize {
namespace {

// Fills one codebook at a time, reusing memory between rows.
class CodebookFitter {
 public:
  void fit(std::span<const float> row, std::span<const float> column_weights, std::span<float> codebook) {
    points_.clear();
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (column_weights[i] > 0) points_.emplace_back(row[i], column_weights[i]);
    }
    if (points_.empty()) {  // no calibration token reached these columns
      for (const auto value : row) points_.emplace_back(value, 1.0F);
    }
    std::sort(points_.begin(), points_.end());
    values_.clear();
    weights_.clear();
    for (const auto& [value, weight] : points_) {
      values_.push_back(value);
      weights_.push_back(weight);
    }
    const auto centres = clusters_.centres(values_, weights_, static_cast<int>(codebook.size()));
    const auto rest = std::copy(centres.begin(), centres.end(), codebook.begin());
    std::fill(rest, codebook.end(), static_cast<float>(centres.back()));  // fewer distinct values than entries
  }

 private:
  std::vector<std::pair<float, float>> points_;
  std::vector<double> values_, weights_;
  OptimalClusters clusters_;
};

}  // namespace

at::Tensor fit_codebooks(const at::Tensor& rows, const at::Tensor& weights, const KmeansOptions& options) {
  const auto sets = rows.size(0), channels = rows.size(1), columns = rows.size(2);
  const auto entries = std::int64_t{1} << options.bits;
  const auto values = rows.cpu().contiguous(), costs = weights.cpu().contiguous();
  auto codebooks = at::empty({sets, channels, entries});
  const auto *value = values.const_data_ptr<float>(), *cost = costs.const_data_ptr<float>();
  auto* result = codebooks.mutable_data_ptr<float>();
  at::parallel_for(0, sets * channels, 1, [&](std::int64_t begin, std::int64_t end) {
    const auto size = static_cast<std::size_t>(columns);
    CodebookFitter fitter;
    for (auto row = begin; row < end; ++row) {
      fitter.fit({value + row * columns, size}, {cost + row / channels * columns, size},
                 {result + row * entries, static_cast<std::size_t>(entries)});
    }
  });
  return codebooks.to(options.codebook_type).to(at::kFloat).to(rows.device());
}

at::Tensor codebooks_by_channel(const at::Tensor& codebooks) {
  return codebooks.transpose(0, 1).reshape({codebooks.size(1), -1});
}

void check_codebooks(const at::Tensor& codebooks, at::ScalarType type) {
  if (all_finite(codebooks)) return;
  fail("a weight is too large for a codebook stored as {}; store it as bfloat16 or float32", type_name(type));
}

}  // namespace normtweak::quantize
