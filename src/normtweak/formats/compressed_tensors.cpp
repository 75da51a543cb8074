#include "normtweak/formats/compressed_tensors.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include "normtweak/base/error.h"
#include "normtweak/formats/bit_packing.h"
#include "normtweak/formats/linears/written_affine.h"
#include "normtweak/weights/codebook_groups.h"
#include "normtweak/weights/float8.h"

namespace normtweak::formats {
namespace {

using weights::AffineWeight;
using weights::CodebookWeight;

at::Tensor packed_zero_points(const AffineWeight& weight) {
  return pack_rows(whole_zeros(weight).t().contiguous(), weight.bits).t().contiguous();
}

// The tensors of one linear, each created on demand.
class LaterTensors {
 public:
  // codes: u8 of this shape, once they are needed.
  LaterTensors(std::string module, at::IntArrayRef shape, int bits, std::function<at::Tensor()> codes)
      : module_(std::move(module)), out_(shape[0]), in_(shape[1]) {
    add("weight_packed", at::kInt, {out_, packed_columns(in_, bits)},
        [codes = std::move(codes), bits] { return pack_rows(codes(), bits); });
  }

  void add(const char* part, at::ScalarType type, std::vector<std::int64_t> shape, std::function<at::Tensor()> make) {
    tensors_.push_back({module_ + "." + part, type, std::move(shape),
                        [module = module_, make = std::move(make)] { return for_module(module, make); }});
  }

  void add_floats(const char* part, const at::Tensor& master, at::ScalarType type, const char* what) {
    add(part, type, master.sizes().vec(), [=] { return stored_float(master, type, what); });
  }

  std::vector<TensorToWrite> take() {
    add("weight_shape", at::kLong, {2}, [out = out_, in = in_] {
      return at::tensor(at::IntArrayRef({out, in}), at::kLong);
    });
    return std::move(tensors_);
  }

 private:
  std::string module_;
  std::int64_t out_, in_;
  std::vector<TensorToWrite> tensors_;
};

void add_zero_points(LaterTensors& tensors, const AffineWeight& weight) {
  if (weight.float_zeros) {
    tensors.add_floats("weight_zero_point", weight.zeros, weight.scale_type, "a zero-point");
  } else {
    tensors.add("weight_zero_point", at::kInt,
                {packed_columns(weight.zeros.size(0), weight.bits), weight.zeros.size(1)},
                [weight] { return packed_zero_points(weight); });
  }
}

// A byte for each code, as signed integers.
at::Tensor signed_bytes(const at::Tensor& codes) { return codes.bitwise_xor(128).view(at::kChar); }  // 128 less

// In the format "int-quantized", of 8 bits.
std::vector<TensorToWrite> encode_bytes(const std::string& module, const AffineWeight& weight) {
  weights::check_shapes(weight);
  const auto later = [&](const char* part, at::ScalarType type, const at::Tensor& like, auto make) {
    return TensorToWrite{module + "." + part, type, like.sizes().vec(),
                         [module, weight, make] { return for_module(module, [&] { return make(weight); }); }};
  };
  std::vector<TensorToWrite> tensors = {
      later("weight", at::kChar, weight.codes, [](const AffineWeight& w) { return signed_bytes(w.codes); }),
      later("weight_scale", weight.scale_type, weight.scales,
            [](const AffineWeight& w) { return stored_float(w.scales, w.scale_type, "a scale"); })};
  if (!weight.symmetric) {
    tensors.push_back(later("weight_zero_point", at::kChar, weight.zeros,
                            [](const AffineWeight& w) { return signed_bytes(whole_zeros(w)); }));
  }
  return tensors;
}

// In the format "float-quantized".
std::vector<TensorToWrite> encode_float8(const std::string& module, const weights::ScaledWeight& weight) {
  const auto scales = weights::is_float8_by_channel(weight) ? weight.scales : weight.scales.view(1);
  return {{module + ".weight", at::kFloat8_e4m3fn, weight.codes.sizes().vec(),
           [codes = weight.codes] { return codes.cpu().contiguous().view(at::kFloat8_e4m3fn); }},
          {module + ".weight_scale", weight.scale_type, scales.sizes().vec(), [module, scales, weight] {
             return for_module(module, [&] { return stored_float(scales, weight.scale_type, "a scale"); });
           }}};
}

// FP8 with a scale for each channel, or one for all; null for any other weight.
const weights::ScaledWeight* written_float8(const weights::Weight& weight) {
  const auto* scaled = std::get_if<weights::ScaledWeight>(&weight);
  if (scaled == nullptr) return nullptr;
  return weights::is_float8_by_channel(*scaled) || weights::is_float8_by_tensor(*scaled) ? scaled : nullptr;
}

// The static range of an input.
void add_range(const std::string& module, const InputQuantizer& input, std::vector<TensorToWrite>& tensors) {
  if (!input || input->settings.dynamic) return;
  tensors.push_back({module + ".input_scale", input->scale_type, {1}, [input = *input] {
                       return at::full({1}, input.scale, input.scale_type);
                     }});
  if (input->settings.symmetric) return;
  tensors.push_back(
      {module + ".input_zero_point", at::kChar, {1}, [zero = input->zero] { return at::full({1}, zero, at::kChar); }});
}

bool is_written_in_bytes(const weights::Weight& weight, const InputQuantizer& input) {
  const auto* affine = std::get_if<AffineWeight>(&weight);
  const bool has_float_zeros = affine != nullptr && affine->float_zeros && !affine->symmetric;
  return input && affine != nullptr && affine->bits == 8 && !has_float_zeros && !affine->order.defined();
}

std::vector<TensorToWrite> encode(const std::string& module, const AffineWeight& weight) {
  weights::check_shapes(weight);
  LaterTensors tensors(module, weight.codes.sizes(), weight.bits,
                       [weight] { return in_weight_order(weight, weight.codes); });
  tensors.add_floats("weight_scale", weight.scales, weight.scale_type, "a scale");
  if (!weight.symmetric) {
    add_zero_points(tensors, weight);
  } else if (!weight.zeros.is_meta() && !(weight.zeros == (1 << (weight.bits - 1))).all().item<bool>()) {
    fail("the zero-points of a symmetric weight of {} bits must be {}", weight.bits, 1 << (weight.bits - 1));
  }
  if (weight.order.defined()) {
    tensors.add("weight_g_idx", at::kInt, {weight.codes.size(1)}, [weight] { return group_indices(weight); });
  }
  return tensors.take();
}

std::vector<TensorToWrite> encode(const std::string& module, const CodebookWeight& weight) {
  LaterTensors tensors(module, weight.codes.sizes(), weight.bits, [codes = weight.codes] { return codes; });
  tensors.add_floats("weight_codebook", weight.codebook, weight.codebook_type, "a codebook entry");
  return tensors.take();
}

[[noreturn]] void refuse_kind(const weights::Weight& weight) {
  fail(
      "written are integers with scales and zero-points, FP8 with a scale per channel or one for all, and codebooks; "
      "this weight is {}",
      weights::describe(weight).name);
}

std::vector<TensorToWrite> encode_weight(const std::string& module, const weights::Weight& weight, bool in_bytes) {
  const auto* affine = std::get_if<AffineWeight>(&weight);
  if (affine != nullptr) return in_bytes ? encode_bytes(module, *affine) : encode(module, *affine);
  if (const auto* codebook = std::get_if<CodebookWeight>(&weight)) return encode(module, *codebook);
  if (const auto* float8 = written_float8(weight)) return encode_float8(module, *float8);
  refuse_kind(weight);
}

PackedSettings weight_settings(const weights::Weight& weight) {
  if (const auto* affine = std::get_if<AffineWeight>(&weight)) {
    const bool extended = affine->float_zeros && !affine->symmetric;
    return {.bits = affine->bits,
            .group_size = affine->group_size,
            .symmetric = affine->symmetric,
            .kind = extended ? PackedKind::float_zero_points : PackedKind::affine,
            .ordered = affine->order.defined()};
  }
  if (const auto* codebook = std::get_if<CodebookWeight>(&weight)) {
    return {codebook->bits, weights::codebook_group_size(*codebook), false, PackedKind::codebook};
  }
  if (const auto* float8 = written_float8(weight)) {
    return {.bits = 8,
            .symmetric = true,
            .kind = PackedKind::float8,
            .per_tensor = !weights::is_float8_by_channel(*float8)};
  }
  refuse_kind(weight);
}

}  // namespace

PackedSettings packed_settings(const weights::Weight& weight, const InputQuantizer& input) {
  auto settings = weight_settings(weight);
  if (is_written_in_bytes(weight, input)) settings.kind = PackedKind::integers;
  if (input) settings.input = input->settings;
  return settings;
}

std::vector<TensorToWrite> encode_packed(const std::string& module, const weights::Weight& weight,
                                         const InputQuantizer& input) {
  return for_module(module, [&] {
    auto tensors = encode_weight(module, weight, is_written_in_bytes(weight, input));
    add_range(module, input, tensors);
    return tensors;
  });
}

bool needs_extension(const PackedSettings& settings) {
  return settings.kind == PackedKind::float_zero_points || settings.kind == PackedKind::codebook;
}

}  // namespace normtweak::formats
