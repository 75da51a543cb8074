#include <ATen/ops/full.h>

#include "normtweak/base/device/finite.h"
#include "normtweak/base/device/type_name.h"
#include "normtweak/base/error.h"
#include "normtweak/formats/bit_packing.h"
#include "normtweak/formats/compressed_tensors.h"

namespace normtweak::formats {
namespace {

// Reads and checks the tensors of one linear, with errors that name them.
class PackedLinear {
 public:
  PackedLinear(const TensorSource& source, const std::string& module, const PackedSettings& settings)
      : source_(source), module_(module), settings_(settings) {
    if (source.contains(name("weight_g_idx"))) {
      fail("{}: tensor {}: input columns in another order (actorder \"group\") are not supported",
           source.file_of(name("weight_g_idx")), name("weight_g_idx"));
    }
    read_shape();
  }

  at::Tensor codes() const {
    const auto packed = read("weight_packed", at::kInt, {out_, packed_columns_of_file()});
    return unpack_rows(packed, settings_.bits, in_);
  }

  std::int64_t groups() const {
    if (settings_.group_size == 0) return 1;
    if (in_ % settings_.group_size != 0) {
      fail("{}: linear {}: group size {} does not divide the {} input columns", source_.file_of(name("weight_packed")),
           module_, settings_.group_size, in_);
    }
    return in_ / settings_.group_size;
  }

  // f32, and its stored dtype.
  std::pair<at::Tensor, at::ScalarType> read_floats(const char* part, std::int64_t columns) const {
    const auto type = source_.info(name(part)).type;
    if (type != at::kHalf && type != at::kBFloat16 && type != at::kFloat) {
      fail("{}: tensor {}: F16, BF16 or F32 expected, the file has {}", source_.file_of(name(part)), name(part),
           type_name(type));
    }
    const auto values = read(part, type, {out_, columns}).to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
    if (!all_finite(values)) {
      fail("{}: tensor {} holds NaN or infinity; the file is damaged or was saved from a failed run",
           source_.file_of(name(part)), name(part));
    }
    return {values, type};
  }

  at::Tensor read_packed_zero_points() const {
    const auto packed = read("weight_zero_point", at::kInt, {packed_columns(out_, settings_.bits), groups()});
    return unpack_rows(packed.t(), settings_.bits, out_).t().to(at::kFloat).contiguous();
  }

  std::int64_t out() const { return out_; }

 private:
  std::string name(const char* part) const { return module_ + "." + part; }

  at::Tensor read(const char* part, at::ScalarType type, at::IntArrayRef shape) const {
    const auto found = source_.info(name(part)).type;
    if (found != type) {
      fail("{}: tensor {}: {} expected, the file has {}; it may be packed in an older layout",
           source_.file_of(name(part)), name(part), type_name(type), type_name(found));
    }
    return read_with_shape(source_, name(part), shape);
  }

  void read_shape() {
    const auto shape = read("weight_shape", at::kLong, {2});
    out_ = shape[0].item<std::int64_t>();
    in_ = shape[1].item<std::int64_t>();
    constexpr std::int64_t kMost = std::int64_t{1} << 31;  // for either dimension, so that sizes below cannot overflow
    if (out_ <= 0 || in_ <= 0 || out_ > kMost || in_ > kMost) {
      fail("{}: tensor {}: holds [{}, {}], which is not the shape of a weight", source_.file_of(name("weight_shape")),
           name("weight_shape"), out_, in_);
    }
  }

  std::int64_t packed_columns_of_file() const {
    const auto found = source_.info(name("weight_packed")).shape;
    const auto words = packed_columns(in_, settings_.bits);
    const auto codes_per_word = 32 / settings_.bits;
    const auto padded = (in_ + codes_per_word - 1) / codes_per_word;
    if (found.size() == 2 && found[1] == padded && padded != words) {
      fail(
          "{}: tensor {}: {} words a row, {} expected; {} bits are packed as compressed-tensors did before 0.18, pack "
          "the model anew",
          source_.file_of(name("weight_packed")), name("weight_packed"), padded, words, settings_.bits);
    }
    return words;
  }

  const TensorSource& source_;
  const std::string& module_;
  const PackedSettings& settings_;
  std::int64_t out_ = 0, in_ = 0;
};

}  // namespace

weights::Weight decode_packed(const TensorSource& source, const std::string& module, const PackedSettings& settings) {
  const PackedLinear linear(source, module, settings);
  if (settings.kind == PackedKind::codebook) {
    auto [codebook, type] = linear.read_floats("weight_codebook", std::int64_t{1} << settings.bits);
    return weights::CodebookWeight{linear.codes(), codebook, settings.bits, type};
  }
  weights::AffineWeight weight;
  weight.bits = settings.bits;
  weight.group_size = settings.group_size;
  weight.symmetric = settings.symmetric;
  weight.float_zeros = settings.kind == PackedKind::float_zero_points;
  weight.codes = linear.codes();
  std::tie(weight.scales, weight.scale_type) = linear.read_floats("weight_scale", linear.groups());
  if (settings.symmetric) {
    weight.zeros = at::full({linear.out(), linear.groups()}, 1 << (settings.bits - 1), at::kFloat);
  } else if (weight.float_zeros) {
    weight.zeros = linear.read_floats("weight_zero_point", linear.groups()).first;
  } else {
    weight.zeros = linear.read_packed_zero_points();
  }
  return weight;
}

}  // namespace normtweak::formats
