// The floats and the integers of the sub-blocks of llama.cpp's block types, fitted to given weights. Everything is
// rounded as the file stores it: first the floats to f16, then the integers of the sub-blocks for these floats, and
// then the codes.
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/weights/block_type.h"
#include "normtweak/weights/block_weight.h"

namespace normtweak::quantize {

// The grids of n blocks; see weights/block_type.h for the values that they stand for. All are f32.
struct BlockGrid {
  at::Tensor scales, minima;          // [n], values of f16; minima undefined if the type has none
  at::Tensor sub_scales, sub_minima;  // [n, sub-blocks], integers; undefined if the type has no sub-blocks or minima
};

// The same for each sub-block: value = code * scale + minimum. f32 [n, sub-blocks]; without minima they are undefined.
struct SubGrid {
  at::Tensor scales, minima;
};
SubGrid sub_grid(const BlockGrid& grid);

// values: f32 [n, block size]; importance: f32 [n or 1, block size], at least 0. Looks for the grid with the least
//     Σ importance (value - nearest point of the grid)²
// of each block. Candidates shrink the range of each sub-block; each gets the scale and minimum of least squares for
// its codes, and the best of them takes turns of least squares and rounding. Where a type nests its scales, integers
// beside the nearest ones are tried as well, for several floats, which are then fitted to the integers and codes in
// turns. A sub-block without any importance counts a little, evenly. The result does not depend on the number of
// threads. Throws Error if a float does not fit into f16.
BlockGrid search_blocks(const at::Tensor& values, const at::Tensor& importance, const weights::BlockType& type);

// The code whose value is nearest: f32, like values [..., size]; scales and minima: [...].
at::Tensor nearest_codes(const at::Tensor& values, const at::Tensor& scales, const at::Tensor& minima,
                         const weights::BlockType& type);

// The weight of `out` rows with these codes, f32 [out, in], and the grids of its blocks in row-major order.
weights::BlockWeight block_weight(const at::Tensor& codes, const BlockGrid& grid, const weights::BlockType& type);

// Throws Error unless the rows of a weight of this shape are whole blocks.
void check_whole_blocks(at::IntArrayRef shape, const weights::BlockType& type);

// The row of the table of this name; throws Error listing the names.
const weights::BlockType& find_block_type(std::string_view name);

// weight: f32 [out, in]; importance: f32 [in], such as the Hessian's diagonal, or undefined: all alike. Each weight
// takes the nearest point of its block's grid. Throws Error for a weight or importance that is not finite, for an
// importance below 0, and for rows that are no whole blocks.
weights::BlockWeight quantize_blocks(const at::Tensor& weight, const weights::BlockType& type,
                                     const at::Tensor& importance = {});

}  // namespace normtweak::quantize
