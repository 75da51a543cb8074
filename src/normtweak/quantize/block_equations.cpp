#include "normtweak/quantize/block_equations.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>

#include "normtweak/base/device/matrix_product.h"

namespace normtweak::quantize {
namespace {

// columns: [in, out]. [out, floats]
at::Tensor sum_of_products(const at::Tensor& columns, const std::vector<at::Tensor>& factors, std::int64_t block_size) {
  std::vector<at::Tensor> sums;
  for (const auto& factor : factors) {
    const auto by_block = (columns * factor).view({-1, block_size, columns.size(1)});
    sums.push_back(by_block.sum(1).t());
  }
  return at::cat(sums, 1);
}

}  // namespace

BlockEquations block_equations(const std::vector<at::Tensor>& factors, const at::Tensor& hessian,
                               const at::Tensor& errors, std::int64_t block_size) {
  std::vector<at::Tensor> rows;
  for (const auto& factor : factors) {
    for (std::int64_t first = 0; first < factor.size(0); first += block_size) {
      const auto last = first + block_size;
      const auto product = matmul_transposed(hessian.slice(1, first, last), factor.slice(0, first, last).t());
      rows.push_back(sum_of_products(product, factors, block_size));
    }
  }
  const auto felt = matmul_transposed(hessian, errors.t());
  return {at::stack(rows, 1).to(at::kDouble), sum_of_products(felt, factors, block_size).to(at::kDouble)};
}

}  // namespace normtweak::quantize
