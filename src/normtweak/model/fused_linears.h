// Linears that read the same input as one product: query, key and value, and gate and up. For decoding, where a product
// of few rows leaves most of a GPU idle, and each costs a launch.
#pragma once
#include "normtweak/model/decoder.h"

namespace normtweak::model {

// The same block with these linears joined, copied; what is not float, or has a bias beside one that has none, stays
// apart. The order of rows is that of families whose checkpoints have them joined.
Block with_fused_linears(const Block& block, const ModelConfig& config);

// The same decoder with such blocks, if they are all on the device and their copies fit a small share of the workspace,
// which is then smaller. Otherwise the decoder itself.
Decoder with_fused_linears(const Decoder& decoder);

}  // namespace normtweak::model
