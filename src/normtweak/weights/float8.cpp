#include "normtweak/weights/float8.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>

namespace normtweak::weights {
namespace {

constexpr std::string_view kName = "fp8";

bool has_tiles(const ScaledWeight& weight, std::int64_t rows) {
  return weight.type_name == kName && weight.tile_rows == rows && weight.tile_columns == weight.codes.size(1);
}

}  // namespace

at::Tensor e4m3_table() { return at::arange(256, at::kInt).to(at::kByte).view(at::kFloat8_e4m3fn).to(at::kFloat); }

ScaledWeight float8_weight(const at::Tensor& codes, const at::Tensor& scales, at::ScalarType scale_type) {
  const auto scale_bits = 8 * static_cast<double>(c10::elementSize(scale_type)) * static_cast<double>(scales.numel());
  ScaledWeight weight;
  weight.codes = codes;
  weight.table = e4m3_table().to(codes.device());
  weight.scales = scales;
  weight.tile_rows = codes.size(0) / scales.size(0);
  weight.tile_columns = codes.size(1);
  weight.bits = 8 + scale_bits / static_cast<double>(codes.numel());
  weight.type_name = kName;
  weight.scale_type = scale_type;
  return weight;
}

bool is_float8_by_channel(const ScaledWeight& weight) { return has_tiles(weight, 1); }

bool is_float8_by_tensor(const ScaledWeight& weight) { return has_tiles(weight, weight.codes.size(0)); }

}  // namespace normtweak::weights
