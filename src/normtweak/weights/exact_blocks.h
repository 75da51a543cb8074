// Affine weights as llama.cpp's blocks with the very same values: those of its types that have one scale for a block,
//     Q4_0, Q5_0, Q8_0    d * (q - z) with d = scale and q - z as a signed integer
//     Q4_1, Q5_1          d * q + m   with d = scale, m = -z * scale
// Groups of more columns than a block become several blocks with the same floats.
#pragma once
#include <vector>

#include "normtweak/weights/block_type.h"
#include "normtweak/weights/weight.h"

namespace normtweak::weights {

// The types that hold all values of `weight`, the smallest first; at least one. Throws Error saying why there is none:
// weights of other kinds, groups that are no whole blocks, columns of a group that lie apart, scales or minima that F16
// lacks.
std::vector<const BlockType*> exact_block_types(const Weight& weight);

// The weight in one of these types. Throws Error as well if `type` is none of them.
BlockWeight exact_blocks(const Weight& weight, const BlockType& type);

}  // namespace normtweak::weights
