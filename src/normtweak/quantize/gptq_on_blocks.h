// GPTQ on the grids of llama.cpp's block types.
#pragma once
#include "normtweak/quantize/hessian_factor.h"
#include "normtweak/weights/block_type.h"
#include "normtweak/weights/block_weight.h"

namespace normtweak::quantize {

struct BlockGptqResult {
  weights::BlockWeight weight;
  double layer_error = 0;  // tr(ΔW H ΔWᵀ) with the Hessian before damping
};

// As quantize_gptq() does on affine grids: weight: f32 [out, in], on the device of the factor; rows are independent.
// The floats and integer scales of a block are searched (block_search.h) when its first column is reached, for the
// weights as updated by then; with act-order, beforehand. An error in column k counts as much as D of the factor says:
// what the columns after it cannot make up for.
//
// Throws Error if the weight is not finite, if its rows are no whole blocks, or if a scale does not fit into f16.
BlockGptqResult quantize_gptq(const at::Tensor& weight, const HessianFactor& factor, const weights::BlockType& type);

}  // namespace normtweak::quantize
