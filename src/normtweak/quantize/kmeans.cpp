#include "normtweak/quantize/kmeans.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "normtweak/base/device/finite.h"
#include "normtweak/base/device/type_name.h"
#include "normtweak/base/error.h"
#include "normtweak/quantize/checks.h"
#include "normtweak/quantize/optimal_clusters.h"

namespace normtweak::quantize {
namespace {

at::Tensor column_weights(const at::Tensor& sensitivity, std::int64_t in) {
  if (!sensitivity.defined()) return at::ones({in});
  if (sensitivity.dim() != 1 || sensitivity.size(0) != in) {
    fail("sensitivity must have one value for each of the {} input columns; found {}", in,
         c10::str(sensitivity.sizes()));
  }
  check_finite(sensitivity, "the sensitivity");
  if (sensitivity.min().item<double>() < 0) fail("a sensitivity is negative; the diagonal of a Hessian never is");
  const auto weights = sensitivity.to(at::kCPU, at::kFloat).contiguous();
  const bool none = weights.max().item<float>() == 0;  // no calibration token reached this linear
  return none ? at::ones({in}) : weights;
}

// Fills one codebook at a time, reusing memory between rows.
class CodebookFitter {
 public:
  void fit(std::span<const float> row, std::span<const float> column_weights, std::span<float> codebook) {
    points_.clear();
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (column_weights[i] > 0) points_.emplace_back(row[i], column_weights[i]);
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

at::Tensor fit_codebooks(const at::Tensor& weight, const at::Tensor& column_weights, int bits) {
  const auto out = weight.size(0), in = weight.size(1), entries = std::int64_t{1} << bits;
  auto codebooks = at::empty({out, entries});
  const auto* rows = weight.const_data_ptr<float>();
  const std::span weights(column_weights.const_data_ptr<float>(), static_cast<std::size_t>(in));
  auto* results = codebooks.mutable_data_ptr<float>();
  at::parallel_for(0, out, 1, [&](std::int64_t begin, std::int64_t end) {
    CodebookFitter fitter;
    for (auto row = begin; row < end; ++row) {
      fitter.fit({rows + row * in, static_cast<std::size_t>(in)}, weights,
                 {results + row * entries, static_cast<std::size_t>(entries)});
    }
  });
  return codebooks;
}

// The nearest entry for each weight; ties go to the lower entry, and to the first of equal ones.
at::Tensor nearest_entries(const at::Tensor& weight, const at::Tensor& codebooks) {
  const auto out = weight.size(0), in = weight.size(1), borders = codebooks.size(1) - 1;
  const auto middles = ((codebooks.slice(1, 0, borders) + codebooks.slice(1, 1)) * 0.5).contiguous();
  auto codes = at::empty({out, in}, at::kByte);
  const auto* rows = weight.const_data_ptr<float>();
  const auto* middle_rows = middles.const_data_ptr<float>();
  auto* results = codes.mutable_data_ptr<std::uint8_t>();
  at::parallel_for(0, out, 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto row = begin; row < end; ++row) {
      const auto* first = middle_rows + row * borders;
      std::transform(rows + row * in, rows + (row + 1) * in, results + row * in, [&](float value) {
        return static_cast<std::uint8_t>(std::lower_bound(first, first + borders, value) - first);
      });
    }
  });
  return codes;
}

}  // namespace

weights::CodebookWeight quantize_kmeans(const at::Tensor& weight, const at::Tensor& sensitivity,
                                        const KmeansOptions& options) {
  check_weight(weight);
  check_bits(options.bits);
  check_scale_type(options.codebook_type);
  const auto values = weight.cpu().contiguous();
  const auto exact = fit_codebooks(values, column_weights(sensitivity, values.size(1)), options.bits);
  const auto codebook = exact.to(options.codebook_type).to(at::kFloat);
  if (!all_finite(codebook)) {
    fail("a weight is too large for a codebook stored as {}; store it as bfloat16 or float32",
         type_name(options.codebook_type));
  }
  return {.codes = nearest_entries(values, codebook).to(weight.device()),
          .codebook = codebook.to(weight.device()),
          .bits = options.bits,
          .codebook_type = options.codebook_type};
}

}  // namespace normtweak::quantize
