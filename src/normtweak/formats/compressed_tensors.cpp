#include "normtweak/formats/compressed_tensors.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>

#include "normtweak/base/device/type_name.h"
#include "normtweak/base/error.h"
#include "normtweak/formats/bit_packing.h"

namespace normtweak::formats {
namespace {

using weights::AffineWeight;
using weights::CodebookWeight;

// Runs `action` and prefixes the message of its Error with the module's name.
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
    fail("{} does not fit {}; choose bfloat16 or float32 to store it in", what, type_name(type));
  }
  return stored;
}

at::Tensor packed_codes(const at::Tensor& codes, int bits) { return pack_rows(codes.cpu(), bits); }

at::Tensor packed_zero_points(const AffineWeight& weight) {
  const auto zeros = weight.zeros.detach().cpu();
  const auto whole = (zeros == zeros.round()) & (zeros >= 0) & (zeros < (1 << weight.bits));
  if (!whole.all().item<bool>()) {
    fail("zero-points must be whole numbers from 0 to {}; mark the weight `float_zeros` to store others",
         (1 << weight.bits) - 1);
  }
  return pack_rows(zeros.t().to(at::kByte), weight.bits).t().contiguous();
}

// The tensors of one linear, each created on demand.
class LaterTensors {
 public:
  LaterTensors(std::string module, const at::Tensor& codes, int bits)
      : module_(std::move(module)), out_(codes.size(0)), in_(codes.size(1)) {
    add("weight_packed", at::kInt, {out_, packed_columns(in_, bits)},
        [codes, bits] { return packed_codes(codes, bits); });
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

std::vector<TensorToWrite> encode(const std::string& module, const AffineWeight& weight) {
  weights::check_shapes(weight);
  LaterTensors tensors(module, weight.codes, weight.bits);
  tensors.add_floats("weight_scale", weight.scales, weight.scale_type, "a scale");
  if (!weight.symmetric) {
    add_zero_points(tensors, weight);
  } else if (!weight.zeros.is_meta() && !(weight.zeros == (1 << (weight.bits - 1))).all().item<bool>()) {
    fail("the zero-points of a symmetric weight of {} bits must be {}", weight.bits, 1 << (weight.bits - 1));
  }
  return tensors.take();
}

std::vector<TensorToWrite> encode(const std::string& module, const CodebookWeight& weight) {
  LaterTensors tensors(module, weight.codes, weight.bits);
  tensors.add_floats("weight_codebook", weight.codebook, weight.codebook_type, "a codebook entry");
  return tensors.take();
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

std::vector<TensorToWrite> encode_packed(const std::string& module, const weights::Weight& weight) {
  return for_module(module, [&]() -> std::vector<TensorToWrite> {
    if (const auto* affine = std::get_if<AffineWeight>(&weight)) return encode(module, *affine);
    if (const auto* codebook = std::get_if<CodebookWeight>(&weight)) return encode(module, *codebook);
    fail("a float weight is not packed");
  });
}

bool needs_extension(const PackedSettings& settings) { return settings.kind != PackedKind::affine; }

}  // namespace normtweak::formats
