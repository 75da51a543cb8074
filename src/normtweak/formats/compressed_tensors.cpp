#include "normtweak/formats/compressed_tensors.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>

#include "normtweak/base/error.h"
#include "normtweak/formats/bit_packing.h"

namespace normtweak::formats {
namespace {

using weights::AffineWeight;
using weights::CodebookWeight;

// Runs `action` and puts the name of the module before the message of its Error.
template <class Action>
auto for_module(const std::string& module, const Action& action) {
  try {
    return action();
  } catch (const Error& error) {
    fail("linear {}: {}", module, error.what());
  }
}

at::Tensor stored_float(const at::Tensor& master, at::ScalarType type, std::string_view what) {
  const auto stored = master.detach().cpu().to(type).contiguous();
  if (!at::isfinite(stored).all().item<bool>()) {
    fail("{} does not fit {}; choose bfloat16 or float32 to store it in", what, c10::toString(type));
  }
  return stored;
}

at::Tensor stored_zero_points(const AffineWeight& weight) {
  if (weight.float_zeros) return stored_float(weight.zeros, weight.scale_type, "a zero-point");
  const auto zeros = weight.zeros.detach().cpu();
  const auto whole = (zeros == zeros.round()) & (zeros >= 0) & (zeros < (1 << weight.bits));
  if (!whole.all().item<bool>()) {
    fail("zero-points must be whole numbers from 0 to {}; mark the weight `float_zeros` to store others",
         (1 << weight.bits) - 1);
  }
  return pack_rows(zeros.t().to(at::kByte), weight.bits).t().contiguous();
}

NamedTensors encode(const std::string& module, const AffineWeight& weight) {
  weights::check_shapes(weight);
  const auto codes = weight.codes.cpu();
  NamedTensors tensors = {{module + ".weight_packed", pack_rows(codes, weight.bits)},
                          {module + ".weight_scale", stored_float(weight.scales, weight.scale_type, "a scale")}};
  if (!weight.symmetric) {
    tensors.emplace_back(module + ".weight_zero_point", stored_zero_points(weight));
  } else if (!(weight.zeros == (1 << (weight.bits - 1))).all().item<bool>()) {
    fail("the zero-points of a symmetric weight of {} bits must be {}", weight.bits, 1 << (weight.bits - 1));
  }
  tensors.emplace_back(module + ".weight_shape", at::tensor(codes.sizes(), at::kLong));
  return tensors;
}

NamedTensors encode(const std::string& module, const CodebookWeight& weight) {
  const auto codes = weight.codes.cpu();
  return {{module + ".weight_packed", pack_rows(codes, weight.bits)},
          {module + ".weight_codebook", stored_float(weight.codebook, weight.codebook_type, "a codebook entry")},
          {module + ".weight_shape", at::tensor(codes.sizes(), at::kLong)}};
}

}  // namespace

PackedSettings packed_settings(const weights::Weight& weight) {
  if (const auto* affine = std::get_if<AffineWeight>(&weight)) {
    const bool extended = affine->float_zeros && !affine->symmetric;
    return {affine->bits, affine->group_size, affine->symmetric,
            extended ? PackedKind::float_zero_points : PackedKind::affine};
  }
  if (const auto* codebook = std::get_if<CodebookWeight>(&weight)) {
    return {codebook->bits, 0, false, PackedKind::codebook};
  }
  fail("a float weight is not packed");
}

NamedTensors encode_packed(const std::string& module, const weights::Weight& weight) {
  return for_module(module, [&]() -> NamedTensors {
    if (const auto* affine = std::get_if<AffineWeight>(&weight)) return encode(module, *affine);
    if (const auto* codebook = std::get_if<CodebookWeight>(&weight)) return encode(module, *codebook);
    fail("a float weight is not packed");
  });
}

std::vector<PackedReader> packed_readers(const PackedSettings& settings) {
  const PackedReader own = {"normtweak", ""};
  if (settings.kind != PackedKind::affine) return {own};
  const bool common = settings.bits == 4 || settings.bits == 8;
  // 0.17 packed 3, 5, 6 and 7 bits in another layout, earlier versions knew 4 and 8 bits only.
  const PackedReader transformers = {"transformers", common               ? "with compressed-tensors"
                                                     : settings.bits == 2 ? "with compressed-tensors 0.17 or later"
                                                                          : "with compressed-tensors 0.18 or later"};
  // Its kernels take these group sizes; newer versions know more widths on some GPUs, which was not tried.
  const auto group = settings.group_size;
  const bool has_kernel = group == 0 || group == 32 || group == 64 || group == 128;
  if (common && has_kernel) return {{"vLLM", ""}, transformers, own};
  return {transformers, own};
}

}  // namespace normtweak::formats
