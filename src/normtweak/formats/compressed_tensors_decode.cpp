#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>

#include "normtweak/base/device/type_name.h"
#include "normtweak/base/error.h"
#include "normtweak/formats/bit_packing.h"
#include "normtweak/formats/compressed_tensors.h"
#include "normtweak/formats/linears/module_tensors.h"
#include "normtweak/formats/linears/scaled_bytes.h"

namespace normtweak::formats {
namespace {

using weights::AffineWeight;
using weights::Weight;

constexpr const char *kPacked = "weight_packed", *kScale = "weight_scale", *kZero = "weight_zero_point",
                     *kShape = "weight_shape", *kCodebook = "weight_codebook", *kIndex = "weight_g_idx",
                     *kInputScale = "input_scale", *kInputZero = "input_zero_point";

// Rows and columns, from weight_shape.
std::array<std::int64_t, 2> shape_of(const ModuleTensors& tensors) {
  const auto type = tensors.info(kShape).type;
  const auto shape = tensors.read(kShape, type == at::kInt ? at::kInt : at::kLong, {2}).to(at::kLong);
  const std::array found = {shape[0].item<std::int64_t>(), shape[1].item<std::int64_t>()};
  constexpr std::int64_t kMost = std::int64_t{1} << 31;  // for either dimension, so that sizes below cannot overflow
  if (found[0] <= 0 || found[1] <= 0 || found[0] > kMost || found[1] > kMost) {
    tensors.refuse(kShape, "holds [{}, {}], which is not the shape of a weight", found[0], found[1]);
  }
  return found;
}

// Whether `words` hold `columns` codes in the layout before 0.18. Throws Error if they do in neither.
bool is_older_layout(const ModuleTensors& tensors, const char* part, std::int64_t words, std::int64_t columns,
                     const PackedSettings& settings) {
  const auto dense = packed_columns(columns, settings.bits), whole = whole_columns(columns, settings.bits);
  if (words == dense && words == whole) return settings.older_layout;
  if (words != dense && words != whole) {
    tensors.refuse(part,
                   "{} words for {} codes of {} bits, {} expected; it is not of the model that its config describes",
                   words, columns, settings.bits, dense);
  }
  return words != dense;
}

at::Tensor unpacked(const ModuleTensors& tensors, const char* part, const at::Tensor& words, std::int64_t columns,
                    const PackedSettings& settings) {
  return is_older_layout(tensors, part, words.size(1), columns, settings)
             ? unpack_whole_rows(words, settings.bits, columns)
             : unpack_rows(words, settings.bits, columns);
}

// The input columns that share a codebook; 0: the whole row.
int codebook_group(const ModuleTensors& tensors, std::int64_t rows, std::int64_t columns,
                   const PackedSettings& settings) {
  tensors.float_type(kCodebook, {rows, -1});
  const auto entries = std::int64_t{1} << settings.bits, found = tensors.info(kCodebook).shape[1];
  if (found % entries != 0) tensors.refuse(kCodebook, "{} entries in a row, no multiple of {}", found, entries);
  return checked_group_size(tensors, kCodebook, settings.group_size, columns, found / entries);
}

// What a packed linear is, without its data.
AffineOutline outlined(const ModuleTensors& tensors, const PackedSettings& settings) {
  const auto [rows, columns] = shape_of(tensors);
  const auto words = tensors.info(kPacked, at::kInt, {rows, -1}).shape[1];
  is_older_layout(tensors, kPacked, words, columns, settings);
  AffineOutline outline = {.rows = rows, .columns = columns, .bits = settings.bits, .symmetric = settings.symmetric};
  if (settings.kind == PackedKind::codebook) {
    outline.group_size = codebook_group(tensors, rows, columns, settings);
    return outline;
  }
  outline.scale_type = tensors.float_type(kScale, {rows, -1});
  const auto groups = tensors.info(kScale).shape[1];
  const auto size = settings.group_size == PackedSettings::kShapeDecides && groups > 0
                        ? static_cast<int>(columns / groups)
                        : settings.group_size;
  outline.group_size = checked_group_size(tensors, kScale, size, columns, groups);
  return outline;
}

at::Tensor order_of(const ModuleTensors& tensors, const AffineOutline& outline) {
  if (!tensors.has(kIndex)) return {};
  const auto unset = tensors.read(kIndex, at::kInt, {outline.columns}).eq(-1).all().item<bool>();
  return unset ? at::Tensor() : order_of_groups(tensors, kIndex, outline);
}

at::Tensor zeros_of(const ModuleTensors& tensors, const AffineWeight& weight, const PackedSettings& settings) {
  const auto rows = weight.codes.size(0), groups = weight.scales.size(1);
  const int middle = 1 << (settings.bits - 1);
  if (settings.symmetric) return at::full({rows, groups}, middle, at::kFloat);
  if (weight.float_zeros) return tensors.floats(kZero, {rows, groups});
  if (tensors.info(kZero).type == at::kChar) {  // as before 0.9.4
    return tensors.read(kZero, at::kChar, {rows, groups}).to(at::kFloat) + middle;
  }
  const auto packed = tensors.read(kZero, at::kInt, {-1, groups}).t().contiguous();
  return unpacked(tensors, kZero, packed, rows, settings).t().to(at::kFloat).contiguous();
}

Weight decode_affine(const ModuleTensors& tensors, const PackedSettings& settings) {
  const auto outline = outlined(tensors, settings);
  auto weight = affine_outline(outline);
  weight.float_zeros = settings.kind == PackedKind::float_zero_points;
  weight.codes =
      unpacked(tensors, kPacked, tensors.read(kPacked, at::kInt, {outline.rows, -1}), outline.columns, settings);
  weight.order = order_of(tensors, outline);
  if (weight.order.defined()) weight.codes = weight.codes.index_select(1, weight.order);
  weight.scales = tensors.floats(kScale, weight.scales.sizes());
  weight.zeros = zeros_of(tensors, weight, settings);
  return weight;
}

weights::CodebookWeight codebook_outline(const ModuleTensors& tensors, const AffineOutline& outline) {
  const auto groups = outline.group_size > 0 ? outline.columns / outline.group_size : 1;
  const std::array shape = {outline.rows, groups << outline.bits};
  return {.codes = later({outline.rows, outline.columns}, at::kByte),
          .codebook = later({shape[0], shape[1]}, at::kFloat),
          .bits = outline.bits,
          .codebook_type = tensors.float_type(kCodebook, shape)};
}

// Integers of a byte with a scale for each row or group are affine weights of 8 bits; others share scales by tiles.
bool is_grouped(const PackedSettings& settings) {
  return settings.kind == PackedKind::integers && !settings.per_tensor && settings.tile_rows == 0;
}

AffineOutline outlined_integers(const ModuleTensors& tensors, const PackedSettings& settings) {
  const auto shape = tensors.info("weight", at::kChar, {-1, -1}).shape;
  AffineOutline outline = {.rows = shape[0], .columns = shape[1], .bits = 8, .symmetric = settings.symmetric};
  outline.scale_type = tensors.float_type(kScale, {shape[0], -1});
  const auto groups = tensors.info(kScale).shape[1];
  const auto size = settings.group_size == PackedSettings::kShapeDecides && groups > 0
                        ? static_cast<int>(shape[1] / groups)
                        : settings.group_size;
  outline.group_size = checked_group_size(tensors, kScale, size, shape[1], groups);
  return outline;
}

Weight decode_integers(const ModuleTensors& tensors, const PackedSettings& settings) {
  constexpr int kMiddle = 128;
  auto weight = affine_outline(outlined_integers(tensors, settings));
  const auto shape = weight.scales.sizes().vec();
  weight.codes = (tensors.read("weight", at::kChar, weight.codes.sizes()).to(at::kShort) + kMiddle).to(at::kByte);
  weight.scales = tensors.floats(kScale, shape);
  weight.zeros = at::full(shape, kMiddle, at::kFloat);
  if (!settings.symmetric) weight.zeros.add_(tensors.read(kZero, at::kChar, shape));
  return weight;
}

ByteLayout bytes_of(const ModuleTensors& tensors, const PackedSettings& settings) {
  ByteLayout layout = {.type = settings.kind == PackedKind::float8 ? at::kFloat8_e4m3fn : at::kChar};
  if (!settings.per_tensor) layout.tile = {settings.tile_rows > 0 ? settings.tile_rows : 1, settings.group_size};
  if (settings.symmetric) return layout;
  if (!settings.per_tensor) tensors.refuse(kZero, "zero-points of tiles are not supported");
  layout.zero = tensors.read(kZero, at::kChar, {1}).item<std::int64_t>();
  return layout;
}

// The floats that a linear has, by what its settings say.
bool has_codebook(const Weight& weight) { return std::holds_alternative<weights::CodebookWeight>(weight); }

}  // namespace

Weight decode_packed(const TensorSource& source, const std::string& module, const PackedSettings& settings) {
  const ModuleTensors tensors(source, module);
  if (is_grouped(settings)) return decode_integers(tensors, settings);
  if (settings.kind == PackedKind::integers || settings.kind == PackedKind::float8) {
    return read_bytes(tensors, kScale, bytes_of(tensors, settings));
  }
  if (settings.kind != PackedKind::codebook) return decode_affine(tensors, settings);
  const auto outline = outlined(tensors, settings);
  const auto words = tensors.read(kPacked, at::kInt, {outline.rows, -1});
  auto weight = codebook_outline(tensors, outline);
  weight.codes = unpacked(tensors, kPacked, words, outline.columns, settings);
  weight.codebook = tensors.floats(kCodebook, weight.codebook.sizes());
  return weight;
}

Weight outline_packed(const TensorSource& source, const std::string& module, const PackedSettings& settings) {
  const ModuleTensors tensors(source, module);
  if (is_grouped(settings)) return affine_outline(outlined_integers(tensors, settings));
  if (settings.kind == PackedKind::integers || settings.kind == PackedKind::float8) {
    return outline_bytes(tensors, kScale, bytes_of(tensors, settings));
  }
  auto outline = outlined(tensors, settings);
  if (settings.kind == PackedKind::codebook) return codebook_outline(tensors, outline);
  outline.ordered = order_of(tensors, outline).defined();
  auto weight = affine_outline(outline);
  weight.float_zeros = settings.kind == PackedKind::float_zero_points;
  return weight;
}

InputQuantizer decode_input(const TensorSource& source, const std::string& module, const PackedSettings& settings) {
  if (!settings.input) return std::nullopt;
  weights::ActivationQuantizer quantizer = {.settings = *settings.input};
  if (quantizer.settings.dynamic) return quantizer;
  const ModuleTensors tensors(source, module);
  const auto single = [&](const char* part) {
    const auto shape = tensors.info(part).shape;
    if (c10::multiply_integers(shape) != 1) tensors.refuse(part, "one value expected, for the whole input");
    return shape;
  };
  const auto shape = single(kInputScale);
  quantizer.scale_type = tensors.float_type(kInputScale, shape);
  quantizer.scale = tensors.floats(kInputScale, shape).item<float>();
  if (quantizer.scale <= 0) tensors.refuse(kInputScale, "is {:g}; a scale is greater than 0", quantizer.scale);
  if (!quantizer.settings.symmetric)
    quantizer.zero = tensors.read(kInputZero, at::kChar, single(kInputZero)).item<int>();
  return quantizer;
}

NamedTensors packed_floats(const TensorSource& source, const std::string& module, const Weight& weight) {
  const ModuleTensors tensors(source, module);
  auto copy = weight;
  NamedTensors floats;
  for (const auto& [kind, name, values, stored, converts] : weights::code_floats(copy)) {
    const auto* part = has_codebook(weight) ? kCodebook : kind == weights::CodeFloats::Kind::zeros ? kZero : kScale;
    floats.emplace_back(tensors.name(part), values->detach().cpu().view(tensors.info(part).shape));
  }
  return floats;
}

}  // namespace normtweak::formats
