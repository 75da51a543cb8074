// A linear's weight as codes into one fixed table, times scales that whole tiles of the matrix share: FP8, NF4 and
// integers of 8 bits as other programs store them.
//     W[o, i] = table[codes[o, i]] * scale of the tile of (o, i)
// Tiles are rectangles, or runs of weights in row-major order, which may go on in the next row. Scales may be nested:
//     scale[t] = sub_scales[t] * scales[t / nested_size] + offset
#pragma once
#include <ATen/core/Tensor.h>

#include <string_view>

namespace normtweak::weights {

struct ScaledWeight {
  at::Tensor codes;                        // u8  [out, in]
  at::Tensor table;                        // f32 [values that a code may have]; part of the format, never changed
  at::Tensor scales;                       // f32 [tiles down, tiles across], or [tiles] if they are runs or nested;
                                           // master copy, already rounded to `scale_type`
  at::Tensor sub_scales;                   // f32 [tiles], codes looked up; undefined: scales are not nested
  at::Tensor offset;                       // f32 [1], with sub_scales
  std::int64_t tile_rows = 1;              // rows of a tile; 0: it is a run
  std::int64_t tile_columns = 1;           // columns of a tile, or the length of a run; the last may be shorter
  std::int64_t nested_size = 256;          // tiles that share a scale, with sub_scales
  double bits = 8;                         // stored per weight, all included
  std::string_view type_name = {};         // of the format, such as "nf4"; a literal
  at::ScalarType scale_type = at::kFloat;  // stored dtype of scales; that of the offset is f32
};

// [out, in] in `type`, computed in f32 and rounded once. No gradients: model/linear.h has them.
at::Tensor dequantize(const ScaledWeight& weight, at::ScalarType type = at::kFloat);

double bits_per_weight(const ScaledWeight& weight);

// Gradients of its floats from the gradient G of the dequantized weight, f32, in the shapes of the floats:
//     d / d scale of a tile = Σ_tile G table[codes]
struct ScaledGradients {
  at::Tensor scales, offset;  // offset: undefined if scales are not nested, or if not requested
};
// gradient: [out, in], f32 or bf16. Sums are f32.
ScaledGradients reduce_to_tiles(const at::Tensor& gradient, const ScaledWeight& weight, bool with_offset);

}  // namespace normtweak::weights
