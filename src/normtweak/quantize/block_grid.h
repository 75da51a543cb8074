// The grids of blocks while they are searched: their tensors as a list, and the lines of their sub-blocks.
#pragma once
#include <vector>

#include "normtweak/quantize/block_group.h"
#include "normtweak/quantize/block_search.h"

namespace normtweak::quantize {

// Rounded to f16.
at::Tensor as_stored(const at::Tensor& floats);

// The tensors of a grid that the type has, in a fixed order, and the grid of these.
std::vector<at::Tensor> tensors_of(const BlockGrid& grid);
BlockGrid grid_of(const std::vector<at::Tensor>& parts, const weights::BlockType& type);

// Those of its sub-blocks.
Line line_of(const BlockGrid& grid);

// For types with sub-blocks. groups: [n, sub-blocks, size].
BlockGrid search_nested(const BlockGroups& groups, const weights::BlockType& type);  // block_nested_search.cpp

}  // namespace normtweak::quantize
