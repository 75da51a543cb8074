// Coordinate descent (coordinate_descent.h) on the grids of llama.cpp's block types: floats, integers of the sub-blocks
// and codes are refitted in turns, each with everything else fixed.
//
// A channel's dequantized weight is linear in the floats of its blocks, so that these solve normal equations like those
// of affine scales. With all else fixed, its error is a parabola in the integer scale of a sub-block, or a paraboloid
// in scale and minimum, of which the best whole numbers near the lowest point are taken.
#pragma once
#include <ATen/core/Tensor.h>

#include "normtweak/weights/block_type.h"
#include "normtweak/weights/block_weight.h"

namespace normtweak::quantize {

// weight: f32 [out, in], the weight that `rounded`, of this type, approximates. hessian: f32 [in, in], symmetric, on
// the same device. added: what damping adds to every diagonal entry. No sweep increases the error of a channel. Columns
// whose diagonal is 0 are rounded to nearest. Each new scale is rounded to f16 and stays between half and twice the old
// one.
void descend(weights::BlockWeight& rounded, const weights::BlockType& type, const at::Tensor& weight,
             const at::Tensor& hessian, double added, int sweeps);

}  // namespace normtweak::quantize
