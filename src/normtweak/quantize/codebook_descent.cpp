#include "normtweak/quantize/codebook_descent.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "normtweak/base/device/matrix_product.h"
#include "normtweak/quantize/channel_slices.h"
#include "normtweak/quantize/codebook_columns.h"
#include "normtweak/quantize/descent_step.h"
#include "normtweak/quantize/gptq_block.h"
#include "normtweak/quantize/product_precision.h"

namespace normtweak::quantize {
namespace {

using weights::CodebookWeight;

// The work on a slice of output channels. All matrices are transposed: the columns of the weight are rows.
class CodebookDescent {
 public:
  CodebookDescent(const CodebookWeight& rounded, const at::Tensor& weight, const at::Tensor& hessian)
      : hessian_(hessian),
        out_(weight.size(0)),
        in_(weight.size(1)),
        weight_(padded_columns(weight)),
        grid_(rounded),
        codes_(padded_columns(rounded.codes.to(at::kFloat))),
        values_(at::empty_like(weight_)),
        errors_(at::empty_like(weight_)) {
    for (std::int64_t first = 0; first < in_; first += grid_.span()) take_values(first);
  }

  void sweep() {
    for (std::int64_t begin = 0; begin < in_; begin += grid_.span()) {
      const auto end = begin + grid_.span();
      fit_entries(begin, end);
      for (auto first = begin; first < end; first += kRoundedColumns) {
        round_columns(first, std::min<std::int64_t>(end, first + kRoundedColumns));
      }
    }
  }

  CodebookWeight result() const { return grid_.weight_of(codes_, out_); }

 private:
  // f32 [2^bits, out]: of the group that begins at this column.
  at::Tensor entries_at(std::int64_t begin) const { return grid_.entries.select(0, begin / grid_.span()); }

  at::Tensor of_group(const at::Tensor& columns, std::int64_t begin) const {
    return columns.slice(0, begin, begin + grid_.span());
  }

  void take_values(std::int64_t begin) {
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
    const auto rows = hessian_.slice(0, begin, end), own = rows.slice(1, begin, end);
    const auto codes = codes_.slice(0, begin, end).to(at::kLong);
    const auto right = sum_by_code(matmul_transposed(rows, errors_.t()), codes).t().to(at::kDouble);
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
    take_values(begin);
  }

  // Rounding expects ascending entries: the codes follow those that have changed places.
  void sort_entries(std::int64_t begin, const at::Tensor& codes) {
    auto entries = entries_at(begin);
    const auto [sorted, order] = entries.sort(std::optional<bool>(true), std::int64_t{0}, /*descending=*/false);
    entries.copy_(sorted);
    of_group(codes_, begin).copy_(order.argsort(std::int64_t{0}, /*descending=*/false).gather(0, codes));
  }

  void round_columns(std::int64_t first, std::int64_t last) {
    const auto pull = pull_on(hessian_, first, last);
    const auto target = weight_.slice(0, first, last) + matmul_transposed(pull.t(), errors_.t());
    const auto moved = at::empty_like(target);
    round_block({.target = target,
                 .original = values_.slice(0, first, last),
                 .grids = grid_.of_columns(at::arange(first, last, weight_.options().dtype(at::kLong))),
                 .feedback = pull.slice(0, first, last).contiguous(),
                 .steps = codes_.slice(0, first, last),
                 .errors = moved});
    errors_.slice(0, first, last).add_(moved);
    values_.slice(0, first, last).sub_(moved);
  }

  const at::Tensor& hessian_;  // f32 [in, in]: live_part()
  std::int64_t out_, in_;
  at::Tensor weight_;  // f32 [in, out]
  CodebookColumns grid_;
  at::Tensor codes_;            // f32 [in, out]
  at::Tensor values_, errors_;  // f32 [in, out]: dequantized, and weight - values
};

// Channels at a time: on a GPU, bounded by the memory of the normal equations.
std::int64_t slice_size(const at::Tensor& weight, const CodebookWeight& rounded) {
  constexpr std::int64_t kNumbers = std::int64_t{1} << 26;
  if (weight.is_cpu()) return kRoundedChannels;
  return std::max<std::int64_t>(1, (kNumbers >> (2 * rounded.bits)) / kRoundedLanes) * kRoundedLanes;
}

}  // namespace

void descend(CodebookWeight& rounded, const at::Tensor& weight, const at::Tensor& hessian, double added, int sweeps) {
  const at::NoGradGuard no_grad;
  const RoundingProducts precision;
  const auto live = live_part(hessian, added);
  const auto old = rounded;  // other handles may share its tensors
  rounded.codes = at::empty_like(old.codes);
  rounded.codebook = at::empty_like(old.codebook);
  const auto refit = [&](std::int64_t first, std::int64_t count) {
    auto rows = old;
    rows.codes = old.codes.narrow(0, first, count);
    rows.codebook = old.codebook.narrow(0, first, count);
    CodebookDescent descent(rows, weight.narrow(0, first, count), live);
    for (int sweep = 0; sweep < sweeps; ++sweep) descent.sweep();
    const auto found = descent.result();
    rounded.codes.narrow(0, first, count).copy_(found.codes);
    rounded.codebook.narrow(0, first, count).copy_(found.codebook);
  };
  const auto size = slice_size(weight, old);
  if (weight.is_cpu()) {
    for_each_slice(weight.size(0), size, refit);
  } else {
    for (std::int64_t first = 0; first < weight.size(0); first += size) {
      refit(first, std::min(size, weight.size(0) - first));
    }
  }
}

}  // namespace normtweak::quantize
