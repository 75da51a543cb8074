// A weight in blocks as the bytes of a GGUF file.
#pragma once
#include <cstddef>
#include <vector>

#include "normtweak/formats/ggml_blocks.h"

namespace normtweak::formats {

// The blocks of `weight`, row by row: the inverse of unpack_blocks(), byte for byte. type: the one that the weight was
// quantized to. Floats are rounded to f16, which changes nothing if the weight holds them as they are stored. Works for
// the types of weights::kBlockTypes; throws Error for others, for shapes that are not the type's, for an integer that
// the type cannot hold (naming its row and column), and for a float that is not finite in f16.
std::vector<std::byte> pack_blocks(const weights::BlockWeight& weight, const GgmlType& type);

}  // namespace normtweak::formats
