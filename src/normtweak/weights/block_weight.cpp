#include "normtweak/weights/block_weight.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full_like.h>

#include "normtweak/weights/group_kernels.h"

namespace normtweak::weights {
namespace {

// [out, blocks] → [out, sub-blocks], times the integers of the sub-blocks.
at::Tensor of_sub_blocks(const at::Tensor& floats, const at::Tensor& integers, const BlockWeight& weight) {
  const auto each = floats.repeat_interleave(weight.block_size / weight.sub_size, 1);
  return integers.defined() ? each * integers : each;
}

// [out, sub-blocks] → [out, blocks]: the sums, each weighted by its integer.
at::Tensor sum_of_sub_blocks(const at::Tensor& sums, const at::Tensor& integers, const BlockWeight& weight) {
  const auto weighted = integers.defined() ? sums * integers : sums;
  return weighted.view({weighted.size(0), -1, weight.block_size / weight.sub_size}).sum(2);
}

// Without the minima: the sub-blocks as groups of an affine weight.
AffineWeight groups_of(const BlockWeight& weight) {
  AffineWeight groups;
  groups.codes = weight.codes;
  groups.scales = sub_block_scales(weight);
  groups.zeros = at::full_like(groups.scales, kBlockZero);
  groups.bits = 8;
  groups.group_size = weight.sub_size;
  return groups;
}

}  // namespace

at::Tensor dequantize(const BlockWeight& weight, at::ScalarType type) {
  if (!weight.minima.defined()) return dequantize_groups(groups_of(weight), type);
  auto values = dequantize_groups(groups_of(weight), at::kFloat);
  values.view({values.size(0), -1, weight.sub_size}).add_(sub_block_minima(weight).unsqueeze(2));
  return values.to(type);
}

at::Tensor sub_block_scales(const BlockWeight& weight) {
  return of_sub_blocks(weight.scales * weight.factor, weight.sub_scales, weight);
}

at::Tensor sub_block_minima(const BlockWeight& weight) {
  return weight.minima.defined() ? of_sub_blocks(weight.minima, weight.sub_minima, weight) : at::Tensor();
}

double bits_per_weight(const BlockWeight& weight) { return weight.bits; }

BlockGradients reduce_to_blocks(const at::Tensor& gradient, const BlockWeight& weight, bool with_minima) {
  BlockGradients found;
  const auto sums = reduce_to_groups(gradient, groups_of(weight), /*with_zeros=*/false).scales;
  found.scales = sum_of_sub_blocks(sums, weight.sub_scales, weight) * weight.factor;
  if (with_minima && weight.minima.defined()) {
    const auto totals = gradient.view({gradient.size(0), -1, weight.sub_size}).sum(2, false, at::kFloat);
    found.minima = sum_of_sub_blocks(totals, weight.sub_minima, weight);
  }
  return found;
}

}  // namespace normtweak::weights
