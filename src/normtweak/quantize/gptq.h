// GPTQ: columns are rounded one after the other, and the columns that remain compensate for each error.
// Frantar et al., arXiv 2210.17323; in the form of hessian_factor.h, which needs no inverse.
#pragma once
#include "normtweak/quantize/grid.h"
#include "normtweak/quantize/hessian_factor.h"
#include "normtweak/quantize/kmeans.h"
#include "normtweak/weights/affine_weight.h"
#include "normtweak/weights/block_type.h"
#include "normtweak/weights/block_weight.h"
#include "normtweak/weights/codebook_weight.h"

namespace normtweak::quantize {

// weight: f32 [out, in], on the device of the factor. Rows are independent: the weights of several linears that share
// an input may be stacked, quantized in one call and split again.
//
// Without act-order the grid of a group is fitted when its first column is reached, to the weights as updated by the
// feedback so far. With act-order all grids are fitted beforehand, to the original weights ("static groups"). In either
// case groups are runs of adjacent columns, so that files need no g_idx.
// Dead columns are rounded to nearest, since text other than the calibration text may use them.
//
// Throws Error if the weight is not finite, if group_size does not divide `in`, or if a scale does not fit its type.
weights::AffineWeight quantize_gptq(const at::Tensor& weight, const HessianFactor& factor,
                                    const AffineOptions& options);

// On the grids of llama.cpp's block types, whose floats and integer scales are searched (block_search.h). An error in
// column k then counts as much as D of the factor says: what the columns after it cannot make up for.
// Throws Error if the rows are no whole blocks, or if a scale does not fit into f16.
weights::BlockWeight quantize_gptq(const at::Tensor& weight, const HessianFactor& factor,
                                   const weights::BlockType& type);

// With codebooks for grids: k-means whose columns are rounded one after the other. What an error in a column costs when
// they are fitted is D of the factor, and not the Hessian's diagonal. They are fitted on the CPU, whatever the device;
// the columns are rounded on it. Throws Error if an entry does not fit its type.
weights::CodebookWeight quantize_gptq(const at::Tensor& weight, const HessianFactor& factor,
                                      const KmeansOptions& options);

}  // namespace normtweak::quantize
