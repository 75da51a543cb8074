#include "normtweak/quantize/moments.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>

#include <algorithm>

#include "normtweak/base/device/bf16_product.h"
#include "normtweak/base/device/matrix_product.h"

namespace normtweak::quantize {
namespace {

// A bound on rounding, not on memory: a GPU's tensor cores truncate while they accumulate, so that a sum of terms of
// one sign comes out short by a share that grows with their number. With 1024 the Hessian's error against F64 is that
// of F32 products of 8192 tokens (docs/benchmarks.md; bench/moment_precision.py).
constexpr std::int64_t kTokensOnTensorCores = 1024;

// sum += leftᵀ right. Products of bf16 pairs are exact in F32. Tiles of a CPU round to nearest.
void add_on_tensor_cores(const at::Tensor& sum, const at::Tensor& left, const at::Tensor& right) {
  if (!sum.is_cuda()) return add_matmul_transposed(sum, left.t(), right.t());
  for (std::int64_t first = 0; first < left.size(0); first += kTokensOnTensorCores) {
    const auto count = std::min(kTokensOnTensorCores, left.size(0) - first);
    auto total = sum;
    at::addmm_out(total, sum, left.narrow(0, first, count).t(), right.narrow(0, first, count), at::kFloat);
  }
}

// Those of a GPU, or the tiles of a CPU.
bool on_tensor_cores(const at::Tensor& sum, const at::Tensor& right) {
  return right.scalar_type() == at::kBFloat16 && (sum.is_cuda() || has_bf16_products());
}

// Calls work(first row of the strip, its rows) for strips that cover a symmetric sum. A strip begins at the diagonal:
// the narrower it is, the less is computed twice, and the worse a product fills the device.
template <class Work>
void in_strips(const at::Tensor& sum, bool tensor_cores, const Work& work) {
  constexpr std::int64_t kMostStrips = 8, kAlignment = 64;
  const auto size = sum.size(0), narrowest = static_cast<std::int64_t>(tensor_cores ? 2048 : 256);
  const auto strips = std::clamp<std::int64_t>(size / narrowest, 1, kMostStrips);
  const auto height = (size + strips * kAlignment - 1) / (strips * kAlignment) * kAlignment;
  for (std::int64_t begin = 0; begin < size; begin += height) work(begin, std::min(height, size - begin));
}

}  // namespace

std::vector<at::Tensor> bf16_parts(const at::Tensor& values, int parts) {
  if (values.scalar_type() == at::kBFloat16) return {values};
  std::vector<at::Tensor> all;
  auto rest = values;
  for (int part = 0; part < parts; ++part) {
    all.push_back(rest.to(at::kBFloat16));
    if (part + 1 < parts) rest = rest - all.back();
  }
  return all;
}

void add_moment_of_parts(const at::Tensor& sum, const at::Tensor& left, const at::Tensor& right) {
  for (const auto& part : bf16_parts(left)) add_on_tensor_cores(sum, part, right);
}

void add_moment(const at::Tensor& sum, const at::Tensor& left, const at::Tensor& right) {
  if (on_tensor_cores(sum, right)) return add_moment_of_parts(sum, left, right);
  add_matmul_transposed(sum, left.to(at::kFloat).t(), right.to(at::kFloat).t());
}

void add_product(const at::Tensor& sum, const at::Tensor& left, const at::Tensor& right) {
  if (!on_tensor_cores(sum, left)) return add_moment(sum, left.t(), right);
  for (const auto& part : bf16_parts(right, 3)) add_on_tensor_cores(sum, left.t(), part);
}

void add_symmetric_moment(const at::Tensor& sum, const at::Tensor& values) {
  const bool tensor_cores = on_tensor_cores(sum, values);
  const auto columns = tensor_cores ? values : values.to(at::kFloat);
  in_strips(sum, tensor_cores, [&](std::int64_t begin, std::int64_t count) {
    const auto from_diagonal = columns.narrow(1, begin, sum.size(1) - begin);
    add_moment(sum.narrow(0, begin, count).narrow(1, begin, sum.size(1) - begin), columns.narrow(1, begin, count),
               from_diagonal);
  });
}

void mirror_upper(const at::Tensor& sum) {
  in_strips(sum, sum.is_cuda(), [&](std::int64_t begin, std::int64_t count) {
    const auto end = begin + count, left = sum.size(0) - end;
    const auto square = sum.narrow(0, begin, count).narrow(1, begin, count);
    square.copy_(square.triu() + square.triu(1).t());  // no library promises that its product is symmetric
    sum.narrow(0, end, left).narrow(1, begin, count).copy_(sum.narrow(0, begin, count).narrow(1, end, left).t());
  });
}

}  // namespace normtweak::quantize
