// The integers of ggml's block types; the table is in ggml_blocks.cpp. Each source file documents the byte layout of
// its blocks. Those that a weight can be quantized to have a packer, the exact inverse of the unpacker: every bit of
// such a block belongs to a float or an integer.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

namespace normtweak::formats {

// What a block holds besides its floats: weight i of sub-block g is factor * d * scales[g] * codes[i] + m * minima[g],
// where d and m are the block's floats, the factor is its type's, and what a type lacks is 1, or for m 0.
struct BlockNumbers {
  std::array<std::int8_t, 256> codes;
  std::array<std::int8_t, 16> scales, minima;
};
using BlockUnpacker = void(const std::byte* block, BlockNumbers& numbers);
// Writes everything but the block's floats. The integers must be in the ranges of weights::BlockType.
using BlockPacker = void(const BlockNumbers& numbers, std::byte* block);

// Blocks of 32: ggml_small_blocks.cpp
BlockUnpacker unpack_q4_0, unpack_q4_1, unpack_q5_0, unpack_q5_1, unpack_q8_0;
BlockPacker pack_q4_0, pack_q4_1, pack_q5_0, pack_q5_1, pack_q8_0;
// Blocks of 256: ggml_k_blocks.cpp
BlockUnpacker unpack_q2_k, unpack_q3_k, unpack_q4_k, unpack_q5_k, unpack_q6_k;
BlockPacker pack_q2_k, pack_q3_k, pack_q4_k, pack_q5_k, pack_q6_k;  // ggml_pack_k_blocks.cpp
// Codes that stand for the values of a fixed table: ggml_table_blocks.cpp
BlockUnpacker unpack_iq4_nl, unpack_iq4_xs, unpack_tq1_0, unpack_tq2_0, unpack_mxfp4;
BlockPacker pack_iq4_nl, pack_iq4_xs;
// Runs of codes from a fixed grid: ggml_grid_blocks.cpp
BlockUnpacker unpack_iq2_xxs, unpack_iq2_xs, unpack_iq2_s, unpack_iq3_xxs, unpack_iq3_s, unpack_iq1_s, unpack_iq1_m;

}  // namespace normtweak::formats
