// compressed-tensors: how vLLM and its tools store quantized weights. For the linear `m` with codes [out, in] and
// groups of input columns, in the format "pack-quantized" for integers of 2 to 8 bits:
//
//     m.weight_packed      i32 [out, words]         codes, row by row, as in bit_packing.h
//     m.weight_scale       F16, BF16 or F32 [out, groups]
//     m.weight_zero_point  i32 [words, groups]      packed down the columns: [out, groups]
//                                                   transposed, packed, transposed back;
//                                                   absent where symmetric
//     m.weight_shape       i64 [2]                  out, in
//     m.weight_g_idx       i32 [in]                 the group of each input column; only with actorder "group"
//
// and in "int-quantized", "naive-quantized" and "float-quantized":
//
//     m.weight             i8 or F8_E4M3 [out, in]  signed integers, or values
//     m.weight_scale       [out, groups], [out, 1], [1], or of tiles [out / rows, in / columns], rounded up
//     m.weight_zero_point  i8, like the scales; absent where symmetric
//     m.input_scale        [1], where the input is rounded in a static range, in any of these formats
//     m.input_zero_point   i8 [1], a signed code; absent where symmetric
//
// Traps: the library uses signed codes in [-2^(bits-1), 2^(bits-1)) but packs them with 2^(bits-1) added, so that the
// stored bits equal our unsigned codes; the same holds for zero-points. Zero-points are packed along the other
// dimension than codes. Per channel means one group, [out, 1]. Its early versions did not pack zero-points.
//
// Extension, which only this program reads (docs/formats.md), for what the layout above cannot hold:
//     zero-points that are not whole    m.weight_zero_point  as weight_scale: its type, [out, groups]
//     codebooks                         m.weight_codebook    F16, BF16 or F32 [out, groups * 2^bits], those of a
//                                                            channel's groups one after the other, instead of scale
//                                                            and zero
#pragma once
#include <optional>
#include <string_view>
#include <tuple>

#include "normtweak/formats/safetensors.h"
#include "normtweak/formats/tensor_source.h"
#include "normtweak/weights/activation_quantizer.h"
#include "normtweak/weights/weight.h"

namespace normtweak::formats {

enum class PackedKind {
  affine,             // pack-quantized
  float_zero_points,  // extension
  codebook,           // extension
  integers,           // a byte each: int-quantized, naive-quantized
  float8,             // float-quantized
};

// How the weight of one linear is packed; everything else follows from the tensors.
struct PackedSettings {
  int bits = 4;  // 2 to 8
  // Input columns that share a scale or a codebook; 0: the whole row; kShapeDecides: as many as the shape of the scales
  // says.
  int group_size = 0;
  bool symmetric = false;  // no zero-points are stored; false for codebooks
  PackedKind kind = PackedKind::affine;
  bool per_tensor = false;    // one scale for the whole weight; of `integers` and `float8` alone
  int tile_rows = 0;          // > 0: rows of a tile that shares a scale, of which `group_size` has the columns
  bool ordered = false;       // the columns of a group are scattered over the weight: actorder "group"
  bool older_layout = false;  // of the words, where their number does not tell
  std::optional<weights::ActivationSettings> input = {};  // how the input is rounded; nullopt: not at all

  static constexpr int kShapeDecides = -1;
  // The layout of words is not compared: it is one of the file, not of the weight.
  bool operator==(const PackedSettings& other) const {
    const auto all = [](const PackedSettings& s) {
      return std::tie(s.bits, s.group_size, s.symmetric, s.kind, s.per_tensor, s.tile_rows, s.ordered, s.input);
    };
    return all(*this) == all(other);
  }
};

using InputQuantizer = std::optional<weights::ActivationQuantizer>;  // nullopt: the input is not rounded

// Codes of 8 bits whose input is rounded are written a byte each, "int-quantized", which kernels read; all others
// packed. Throws Error for a float weight, which is stored unpacked.
PackedSettings packed_settings(const weights::Weight& weight, const InputQuantizer& input = {});

// The tensors of `module`. dtypes and shapes are known at once; each tensor is packed when it is loaded, on the CPU, so
// that only one is in memory at a time. Throws Error naming the module if the weight's parts are inconsistent, and when
// a tensor is loaded if a code or zero-point does not fit its bits, or if a scale is not finite. Tensors of the meta
// device, which have a shape and no data, do to learn dtypes and shapes.
std::vector<TensorToWrite> encode_packed(const std::string& module, const weights::Weight& weight,
                                         const InputQuantizer& input = {});

// Throws Error naming file and tensor if one is missing or does not fit the settings.
weights::Weight decode_packed(const TensorSource& source, const std::string& module, const PackedSettings& settings);
// The same without data (tensors of the meta device).
weights::Weight outline_packed(const TensorSource& source, const std::string& module, const PackedSettings& settings);

// How the input of `module` is rounded. Throws Error naming file and tensor if a static range is missing or unusable.
InputQuantizer decode_input(const TensorSource& source, const std::string& module, const PackedSettings& settings);

// The floats of `weight` as tensors of the file, in F32.
NamedTensors packed_floats(const TensorSource& source, const std::string& module, const weights::Weight& weight);

// Whether a linear packed in this way makes its whole checkpoint one that only this program reads.
bool needs_extension(const PackedSettings& settings);

}  // namespace normtweak::formats
