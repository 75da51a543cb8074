#include "normtweak/quantize/codebook_descent.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "normtweak/base/device/matrix_product.h"
#include "normtweak/quantize/codebook_columns.h"
#include "normtweak/quantize/descent_columns.h"

namespace normtweak::quantize {
namespace {

using weights::CodebookWeight;

class CodebookDescent : DescentColumns {
 public:
  CodebookDescent(const CodebookWeight& rounded, const at::Tensor& weight, const at::Tensor& hessian)
      : DescentColumns(weight, hessian), grid_(rounded), codes_(padded_columns(rounded.codes.to(at::kFloat))) {
    values_ = at::empty_like(weight_);
    errors_ = at::empty_like(weight_);
    for (std::int64_t first = 0; first < in(); first += grid_.span()) take_entries(first);
  }

  void sweep() {
    for (std::int64_t begin = 0; begin < in(); begin += grid_.span()) {
      const auto end = begin + grid_.span();
      fit_entries(begin, end);
      const auto grids = grid_.grids(begin, end);
      for (auto first = begin; first < end; first += kRoundedColumns) {
        const auto last = std::min<std::int64_t>(end, first + kRoundedColumns);
        round_columns(first, last, grids.for_columns(first - begin, last - begin), codes_.slice(0, first, last));
      }
    }
  }

  CodebookWeight result() const { return grid_.weight_of(codes_, out()); }

 private:
  // f32 [2^bits, out]: of the group that begins at this column.
  at::Tensor entries_at(std::int64_t begin) const { return grid_.entries.select(0, begin / grid_.span()); }

  at::Tensor of_group(const at::Tensor& columns, std::int64_t begin) const {
    return columns.slice(0, begin, begin + grid_.span());
  }

  void take_entries(std::int64_t begin) {
    const auto codes = of_group(codes_, begin).to(at::kLong);
    of_group(values_, begin).copy_(entries_at(begin).gather(0, codes));
    of_group(errors_, begin).copy_(of_group(weight_, begin) - of_group(values_, begin));
  }

  // The sum over the columns with each code: f32 [columns, out] -> [2^bits, out].
  at::Tensor sum_by_code(const at::Tensor& columns, const at::Tensor& codes) const {
    auto sums = at::zeros({grid_.entries.size(1), columns.size(1)}, columns.options());
    return sums.scatter_add_(0, codes, columns);
  }

  // Of the columns [begin, end), a group. Accepted or not for each channel after rounding.
  void fit_entries(std::int64_t begin, std::int64_t end) {
    const auto own = hessian_.slice(0, begin, end).slice(1, begin, end);
    const auto codes = codes_.slice(0, begin, end).to(at::kLong);
    const auto right = sum_by_code(felt_by(begin, end), codes).t().to(at::kDouble);
    std::vector<at::Tensor> matrix;
    for (std::int64_t entry = 0; entry < grid_.entries.size(1); ++entry) {
      const auto with_entry = codes.eq(entry).to(at::kFloat);
      matrix.push_back(sum_by_code(matmul_transposed(own, with_entry.t()), codes).t());
    }
    const auto equations = at::stack(matrix, 1).to(at::kDouble);  // [out, 2^bits, 2^bits]
    auto entries = entries_at(begin);
    const auto wanted = (entries + solve_channels(equations, right).t()).to(grid_.options().codebook_type);
    const auto fitted = wanted.to(at::kFloat);
    const auto gain = gain_of((fitted - entries).t().to(at::kDouble), equations, right);
    entries.copy_(at::where((gain > 0).unsqueeze(0), fitted, entries));  // false for NaN
    sort_entries(begin, codes);
    take_entries(begin);
  }

  // Rounding expects ascending entries: the codes follow those that have changed places.
  void sort_entries(std::int64_t begin, const at::Tensor& codes) {
    auto entries = entries_at(begin);
    const auto [sorted, order] = entries.sort(std::optional<bool>(true), std::int64_t{0}, /*descending=*/false);
    entries.copy_(sorted);
    of_group(codes_, begin).copy_(order.argsort(std::int64_t{0}, /*descending=*/false).gather(0, codes));
  }

  CodebookColumns grid_;
  at::Tensor codes_;  // f32 [in, out]
};

}  // namespace

void descend(CodebookWeight& rounded, const at::Tensor& weight, const at::Tensor& hessian, double added, int sweeps) {
  descend_in_slices<CodebookDescent>(rounded, weight, hessian, added, sweeps, std::int64_t{1} << rounded.bits);
}

}  // namespace normtweak::quantize
