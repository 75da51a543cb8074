#include "normtweak/formats/linears/scaled_bytes.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>

#include "normtweak/base/device/type_name.h"
#include "normtweak/weights/float8.h"

namespace normtweak::formats {
namespace {

std::int64_t tiles(std::int64_t size, std::int64_t tile) { return (size + tile - 1) / tile; }

// The value of each byte; those of integers have 128 added, so that they count from 0.
at::Tensor table_of(const ByteLayout& layout) {
  if (layout.type == at::kFloat8_e4m3fn) return weights::e4m3_table();
  return at::arange(256, at::kFloat) - static_cast<double>(128 + layout.zero);
}

at::Tensor codes_of(const ModuleTensors& tensors, const ByteLayout& layout, at::IntArrayRef shape) {
  const auto stored = tensors.read("weight", layout.type, shape).contiguous();
  if (layout.type != at::kFloat8_e4m3fn) return (stored.to(at::kShort) + 128).to(at::kByte);
  constexpr int kNan = 0x7f;
  auto codes = stored.view(at::kByte).clone();
  if (codes.bitwise_and(kNan).eq(kNan).any().item<bool>()) {
    tensors.refuse("weight", "holds NaN; the file is damaged or was saved from a failed run");
  }
  return codes;
}

}  // namespace

weights::ScaledWeight outline_bytes(const ModuleTensors& tensors, std::string_view scales, const ByteLayout& layout) {
  const auto shape = tensors.info("weight", layout.type, {-1, -1}).shape;
  const auto found = tensors.info(scales).shape;
  const auto count = c10::multiply_integers(found);
  weights::ScaledWeight weight;
  weight.codes = later({shape[0], shape[1]}, at::kByte);
  weight.table = later({256}, at::kFloat);
  const bool of_rows = layout.tile[0] == 0 && count == shape[0] && count > 1;
  weight.tile_rows = layout.tile[0] > 0 ? layout.tile[0] : of_rows ? 1 : shape[0];
  weight.tile_columns = layout.tile[1] > 0 ? layout.tile[1] : shape[1];
  const auto down = tiles(shape[0], weight.tile_rows), across = tiles(shape[1], weight.tile_columns);
  const bool is_flat = across == 1 && (found.size() < 2);
  if (count != down * across || (!is_flat && found != std::vector<std::int64_t>{down, across})) {
    tensors.refuse(scales, "shape {} for a weight {}: [{}, {}] expected", c10::str(at::IntArrayRef(found)),
                   c10::str(at::IntArrayRef(shape)), down, across);
  }
  weight.scales = later({down, across}, at::kFloat);
  weight.scale_type = tensors.float_type(scales, found);
  weight.type_name = layout.type == at::kFloat8_e4m3fn ? "fp8" : "int8";
  const auto scale_bits =
      8.0 * static_cast<double>(c10::elementSize(weight.scale_type) * static_cast<std::size_t>(count));
  weight.bits = 8 + scale_bits / static_cast<double>(shape[0] * shape[1]);
  return weight;
}

weights::ScaledWeight read_bytes(const ModuleTensors& tensors, std::string_view scales, const ByteLayout& layout) {
  auto weight = outline_bytes(tensors, scales, layout);
  weight.codes = codes_of(tensors, layout, weight.codes.sizes());
  weight.table = table_of(layout);
  weight.scales = tensors.floats(scales, tensors.info(scales).shape).view(weight.scales.sizes());
  return weight;
}

}  // namespace normtweak::formats
