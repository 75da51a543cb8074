#include "normtweak/base/device/bf16_product.h"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "normtweak/base/device/device.h"
#include "normtweak/base/device/library_symbol.h"

namespace normtweak {
namespace {

// https://www.intel.com/content/www/us/en/docs/onemkl/developer-reference-c/current/cblas-gemm-bf16bf16f32.html, whose
// integers have 32 bits in torch's build. sum = product_factor left right + sum_factor sum, in the order of rows.
using Product = void(int order, int left_as, int right_as, int rows, int columns, int depth, float product_factor,
                     const void* left, int left_stride, const void* right, int right_stride, float sum_factor,
                     float* sum, int sum_stride);
constexpr int kRowsFirst = 101, kAsItIs = 111, kTransposed = 112;

Product* find_product() {
  Product* product = nullptr;
  if (!at::hasMKL() || !has_amx_bf16() || !find_symbol(RTLD_DEFAULT, "cblas_gemm_bf16bf16f32", product)) return nullptr;
  return product;
}

Product* product_function() {
  static auto* const found = find_product();
  return found;
}

struct Operand {
  const void* values;
  int as, stride;
};

// nullopt if neither its rows nor its columns are contiguous. transposed: the product takes its transpose.
std::optional<Operand> operand(const at::Tensor& matrix, bool transposed) {
  const bool rows = matrix.stride(1) == 1 && matrix.stride(0) >= std::max<std::int64_t>(1, matrix.size(1));
  const bool columns = matrix.stride(0) == 1 && matrix.stride(1) >= std::max<std::int64_t>(1, matrix.size(0));
  if (!rows && !columns) return std::nullopt;
  return Operand{matrix.const_data_ptr(), rows == transposed ? kTransposed : kAsItIs,
                 static_cast<int>(matrix.stride(rows ? 0 : 1))};
}

bool is_bf16_matrix(const at::Tensor& matrix) {
  constexpr std::int64_t kMost = std::numeric_limits<int>::max();
  const bool fits = matrix.dim() == 2 && matrix.size(0) > 0 && matrix.size(1) > 0 && matrix.size(0) <= kMost &&
                    matrix.size(1) <= kMost && matrix.stride(0) <= kMost && matrix.stride(1) <= kMost;
  return matrix.is_cpu() && matrix.scalar_type() == at::kBFloat16 && fits &&
         !(at::GradMode::is_enabled() && matrix.requires_grad());
}

bool takes_product(const at::Tensor& sum, std::int64_t rows, std::int64_t columns) {
  if (!sum.is_cpu() || sum.scalar_type() != at::kFloat || sum.dim() != 2) return false;
  if (sum.size(0) != rows || sum.size(1) != columns) return false;
  return sum.stride(1) == 1 && sum.stride(0) >= columns && sum.stride(0) <= std::numeric_limits<int>::max();
}

bool multiply(const at::Tensor& sum, const at::Tensor& x, const at::Tensor& weight, float sum_factor) {
  auto* const product = product_function();
  if (product == nullptr || !is_bf16_matrix(x) || !is_bf16_matrix(weight)) return false;
  if (x.size(1) != weight.size(1) || !takes_product(sum, x.size(0), weight.size(0))) return false;
  const auto left = operand(x, false), right = operand(weight, true);
  if (!left || !right) return false;
  product(kRowsFirst, left->as, right->as, static_cast<int>(x.size(0)), static_cast<int>(weight.size(0)),
          static_cast<int>(x.size(1)), 1, left->values, left->stride, right->values, right->stride, sum_factor,
          sum.mutable_data_ptr<float>(), static_cast<int>(sum.stride(0)));
  return true;
}

}  // namespace

bool has_bf16_products() { return product_function() != nullptr; }

bool add_bf16_product(const at::Tensor& sum, const at::Tensor& x, const at::Tensor& weight) {
  return multiply(sum, x, weight, 1);
}

at::Tensor bf16_product(const at::Tensor& x, const at::Tensor& weight) {
  if (!has_bf16_products() || !is_bf16_matrix(x) || !is_bf16_matrix(weight)) return {};  // before it is allocated
  const auto product = at::empty({x.size(0), weight.size(0)}, x.options().dtype(at::kFloat));
  return multiply(product, x, weight, 0) ? product : at::Tensor();
}

}  // namespace normtweak
