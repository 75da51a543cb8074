// compressed-tensors, format "pack-quantized": how vLLM and its tools store integer weights of 2 to 8 bits.
// For the linear `m` with codes [out, in] and groups of input columns:
//
//     m.weight_packed      i32 [out, words]         codes, row by row, as in bit_packing.h
//     m.weight_scale       F16, BF16 or F32 [out, groups]
//     m.weight_zero_point  i32 [words, groups]      packed down the columns: [out, groups]
//                                                   transposed, packed, transposed back;
//                                                   absent where symmetric
//     m.weight_shape       i64 [2]                  out, in
//
// Traps: the library uses signed codes in [-2^(bits-1), 2^(bits-1)) but stores them with 2^(bits-1) added, so that the
// stored bits equal our unsigned codes; the same holds for zero-points. Zero-points are packed along the other
// dimension than codes. Per channel means one group, [out, 1].
//
// Extension, which only this program reads (docs/formats.md), for what the layout above cannot hold:
//     zero-points that are not whole    m.weight_zero_point  as weight_scale: its type, [out, groups]
//     codebooks                         m.weight_codebook    F16, BF16 or F32 [out, 2^bits], instead of scale and zero
#pragma once
#include <array>
#include <string_view>

#include "normtweak/formats/safetensors.h"
#include "normtweak/formats/tensor_source.h"
#include "normtweak/weights/weight.h"

namespace normtweak::formats {

enum class PackedKind {
  affine,             // what compressed-tensors supports
  float_zero_points,  // extension
  codebook,           // extension
};

// How the weight of one linear is packed; everything else follows from the tensors.
struct PackedSettings {
  int bits = 4;            // 2 to 8
  int group_size = 0;      // input columns that share a scale; 0: the whole row. Always 0 for codebooks
  bool symmetric = false;  // no zero-points are stored; false for codebooks
  PackedKind kind = PackedKind::affine;

  bool operator==(const PackedSettings&) const = default;
};

// Throws Error for a float weight, which is stored unpacked.
PackedSettings packed_settings(const weights::Weight& weight);

// Tensors that a packed linear may have instead of `weight`; weight_g_idx is refused.
inline constexpr std::array<std::string_view, 6> kPackedParts = {
    "weight_packed", "weight_scale", "weight_zero_point", "weight_shape", "weight_codebook", "weight_g_idx"};

// The tensors of `module`. dtypes and shapes are known at once; each tensor is packed when it is loaded, on the CPU, so
// that only one is in memory at a time. Throws Error naming the module if the weight's parts are inconsistent, and when
// a tensor is loaded if a code or zero-point does not fit its bits, or if a scale is not finite. Tensors of the meta
// device, which have a shape and no data, do to learn dtypes and shapes.
std::vector<TensorToWrite> encode_packed(const std::string& module, const weights::Weight& weight);

// Throws Error naming file and tensor if one is missing or does not fit the settings.
weights::Weight decode_packed(const TensorSource& source, const std::string& module, const PackedSettings& settings);

// Whether a linear packed in this way makes its whole checkpoint one that only this program reads.
bool needs_extension(const PackedSettings& settings);

}  // namespace normtweak::formats
