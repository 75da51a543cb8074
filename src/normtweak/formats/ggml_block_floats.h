// The floats of a block: where they stand, and what to write there for others.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "normtweak/formats/byte_patch.h"
#include "normtweak/formats/ggml_blocks.h"

namespace normtweak::formats {

float block_scale(const BlockLayout& layout, const std::byte* block);
float block_minimum(const BlockLayout& layout, const std::byte* block);  // 0 if there is none

// The weight's floats, rounded to f16, in the place of those of its blocks: `file` has the first of them at `offset`,
// in the order of the weight's scales. Throws Error if a float is not finite in f16, or if the file has fewer blocks.
std::vector<BytePatch> patch_blocks(const weights::BlockWeight& weight, const GgmlType& type,
                                    std::span<const std::byte> file, std::uint64_t offset);

}  // namespace normtweak::formats
