#include "normtweak/quantize/unit_triangle.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_solve_triangular.h>

#include <algorithm>

#include "normtweak/base/device/matrix_product.h"
#include "normtweak/quantize/product_precision.h"

namespace normtweak::quantize {

std::vector<at::Tensor> inverse_blocks(const at::Tensor& upper) {
  const FullPrecisionProducts full_precision;
  const auto columns = upper.size(0);
  std::vector<at::Tensor> inverses;
  for (std::int64_t first = 0; first < columns; first += kSolvedColumns) {
    const auto last = std::min(columns, first + kSolvedColumns);
    const auto block = upper.slice(0, first, last).slice(1, first, last);
    inverses.push_back(at::linalg_solve_triangular(block, at::eye(last - first, upper.options()), /*upper=*/true,
                                                   /*left=*/true, /*unitriangular=*/true));
  }
  return inverses;
}

at::Tensor solve_upper(const at::Tensor& right, const at::Tensor& upper, const std::vector<at::Tensor>& inverses) {
  auto solved = right.clone();
  for (std::size_t i = 0; i < inverses.size(); ++i) {
    const auto first = static_cast<std::int64_t>(i) * kSolvedColumns, last = first + inverses[i].size(0);
    auto block = solved.slice(1, first, last);
    if (first > 0) {
      block.sub_(matmul_transposed(solved.slice(1, 0, first), upper.slice(0, 0, first).slice(1, first, last).t()));
    }
    block.copy_(matmul_transposed(block, inverses[i].t()));
  }
  return solved;
}

at::Tensor solve_transposed(const at::Tensor& right, const at::Tensor& upper, const std::vector<at::Tensor>& inverses) {
  auto solved = right.clone();
  const auto columns = upper.size(0);
  for (std::size_t i = inverses.size(); i-- > 0;) {
    const auto first = static_cast<std::int64_t>(i) * kSolvedColumns, last = first + inverses[i].size(0);
    auto block = solved.slice(1, first, last);
    if (last < columns) {
      block.sub_(
          matmul_transposed(solved.slice(1, last, columns), upper.slice(0, first, last).slice(1, last, columns)));
    }
    block.copy_(matmul_transposed(block, inverses[i]));
  }
  return solved;
}

}  // namespace normtweak::quantize
