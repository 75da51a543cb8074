#include "normtweak/weights/affine_weight.h"

#include <ATen/ops/argsort.h>

#include "normtweak/base/error.h"
#include "normtweak/weights/group_kernels.h"

namespace normtweak::weights {

at::Tensor in_weight_order(const AffineWeight& weight, const at::Tensor& columns) {
  return weight.order.defined() ? columns.index_select(1, at::argsort(weight.order)) : columns;
}

at::Tensor in_code_order(const AffineWeight& weight, const at::Tensor& columns) {
  return weight.order.defined() ? columns.index_select(1, weight.order) : columns;
}

std::int64_t columns_per_group(const AffineWeight& weight) {
  return weight.group_size > 0 ? weight.group_size : weight.codes.size(1);
}

void check_shapes(const AffineWeight& weight) {
  if (weight.codes.dim() != 2 || weight.codes.scalar_type() != at::kByte) fail("codes must be a u8 matrix");
  const auto out = weight.codes.size(0), in = weight.codes.size(1), group_size = columns_per_group(weight);
  if (in % group_size != 0) fail("group size {} does not divide the {} input columns", group_size, in);
  const auto expected = std::vector<std::int64_t>{out, in / group_size};
  if (weight.scales.sizes() != expected || weight.zeros.sizes() != expected) {
    fail("scales and zero-points must be [{}, {}] for codes [{}, {}] in groups of {}; found {} and {}", expected[0],
         expected[1], out, in, group_size, c10::str(weight.scales.sizes()), c10::str(weight.zeros.sizes()));
  }
}

at::Tensor dequantize(const AffineWeight& weight, at::ScalarType type) {
  check_shapes(weight);
  return in_weight_order(weight, dequantize_groups(weight, type));
}

double bits_per_weight(const AffineWeight& weight) {
  const double scale_bits = 8.0 * static_cast<double>(c10::elementSize(weight.scale_type));
  const double zero_bits = weight.symmetric && !weight.stores_zeros ? 0 : weight.float_zeros ? scale_bits : weight.bits;
  return weight.bits + (scale_bits + zero_bits) / static_cast<double>(columns_per_group(weight));
}

}  // namespace normtweak::weights
