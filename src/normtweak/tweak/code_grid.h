// The grid that a weight's codes lie on: which integers they may be, and where the float weight lies between them.
//
// Positions count the points of the grid from 0 on, which are all codes between the lowest and the highest one. IQ4_NL
// and IQ4_XS have a curve, whose points lie at different distances; between two of them a position is linear in the
// value.
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/weights/block_type.h"
#include "normtweak/weights/weight.h"

namespace normtweak::tweak {

struct CodeGrid {
  int points = 0;         // how many there are
  int first = 0;          // the code of the first one, which those of the others follow
  at::Tensor codes = {};  // of a curve instead: u8 [points], ascending
};

// Whether codes of this weight can be learned: those that are affine, and those of the types in kBlockTypes.
bool has_code_grid(const weights::Weight& weight);

// The following take weights that have one.

CodeGrid code_grid(const weights::Weight& weight);

// u8 [out, in]
at::Tensor& codes_of(weights::Weight& weight);
const at::Tensor& codes_of(const weights::Weight& weight);

// Codes, u8 → their points, in some integer type; and points, whole numbers in f32 → codes.
at::Tensor points_of(const CodeGrid& grid, const at::Tensor& codes);
at::Tensor codes_at(const CodeGrid& grid, const at::Tensor& points);

// How far the float weight ([out, in]) is from the codes, in points of the grid: f32 [out, in], columns in the order of
// the codes. 0 where the scale is 0.
at::Tensor distance_from_codes(const weights::Weight& weight, const at::Tensor& floats);

// The gradient of the dequantized weight ([out, in], overwritten) → that of the positions but for the size of scales:
// times the sign of each group's scale, 0 where that is 0. Columns in the order of the codes.
at::Tensor toward_codes(const weights::Weight& weight, at::Tensor gradient);

}  // namespace normtweak::tweak
