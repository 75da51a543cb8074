// Second moments of what calibration tokens show: sums over tokens of products of two of their values.
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

namespace normtweak::quantize {

// Tokens of one product, at most: sums of so many are added in F32. At 70B a chunk's F32 copy takes 0.9 GiB, of 28672
// columns.
constexpr std::int64_t kTokensAtOnce = 8192;

// sum += leftᵀ right, f32 [columns of left, columns of right]. left, right: [tokens, columns] of any float type, at
// most kTokensAtOnce tokens. Products and sums are F32: either as F32 products, or, where right is bf16 on a GPU or on
// a CPU with AMX, on the tensor cores or tiles, where products of bf16 pairs are exact and sums F32; an F32 left is
// then the sum of bf16 parts. TF32 and bf16 products of F32 must be off (product_precision.h).
void add_moment(const at::Tensor& sum, const at::Tensor& left, const at::Tensor& right);

// sum += valuesᵀ values, of a symmetric sum: blocks below its diagonal are left out, which saves up to half of the
// products. mirror_upper() fills them in, once all is added. values: as `right` of add_moment().
void add_symmetric_moment(const at::Tensor& sum, const at::Tensor& values);
void mirror_upper(const at::Tensor& sum);

// sum += left right, f32 [rows, columns], as exactly as add_moment(). left: [rows, inner]; right: f32 [inner, columns],
// which on tensor cores (left is bf16, on such a device) is the sum of three bf16 parts.
void add_product(const at::Tensor& sum, const at::Tensor& left, const at::Tensor& right);

// The same as add_moment() by products of bf16 pairs on any device; where there are none with an F32 result, they are
// computed in F32 from bf16 values. right: bf16.
void add_moment_of_parts(const at::Tensor& sum, const at::Tensor& left, const at::Tensor& right);

// bf16 tensors, at most `parts`, whose sum is `values` up to 2⁻¹⁷ of each value (two) or 2⁻²⁵ (three); bf16 values are
// their own only part.
std::vector<at::Tensor> bf16_parts(const at::Tensor& values, int parts = 2);

}  // namespace normtweak::quantize
