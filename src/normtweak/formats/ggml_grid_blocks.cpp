// Blocks of 256 weights in runs of 8 or 4, each a point of a fixed grid (ggml_grids.h) with a sign for each weight; IQ1
// has the signs in the grid and moves its points by an eighth instead. s is the integer scale of a sub-block:
//
//     IQ2_XXS   d[2] { index[4] signs_and_scale[4] }[8]      w = d / 8 * (2s + 1) * ±grid            sub-blocks of 32
//     IQ2_XS    d[2] index_and_signs[32, u16] scales[8]      w = d / 8 * (2s + 1) * ±grid                          16
//     IQ2_S     d[2] low[32] signs[32] high[8] scales[8]     w = d / 8 * (2s + 1) * ±grid                          16
//     IQ3_XXS   d[2] index[64] signs_and_scale[4][8]         w = d / 4 * (2s + 1) * ±grid                          32
//     IQ3_S     d[2] low[64] high[8] signs[32] scales[4]     w = d * (2s + 1) * ±grid                              32
//     IQ1_S     d[2] low[32] high[8, u16]                    w = d / 8 * (2s + 1) * (8 * grid ± 1)                 32
//     IQ1_M     low[32] high[16] scales_and_d[4, u16]        w = d / 8 * (2s + 1) * (8 * grid ± 1)                 16
//
// The fixed divisors are BlockLayout::factor, so that all codes and scales are integers. `low` has 8 bits of each
// index, `high` those above them, for the first run in its lowest bits. `scales` are nibbles, of which the first is the
// low one. signs_and_scale: a u32 with the signs of four runs, 7 bits each, and s in its highest 4 bits. Traps: where a
// run has 7 bits for its signs, the eighth makes the number of minus signs even. d of IQ1_M has no place of its own:
// its nibbles are the highest of the four words.
#include <bit>
#include <cstring>

#include "normtweak/formats/ggml_block_codecs.h"
#include "normtweak/formats/ggml_grids.h"

namespace normtweak::formats {
namespace {

template <class Word>
unsigned load(const std::byte* source) {
  Word value = 0;
  std::memcpy(&value, source, sizeof value);
  return value;
}

unsigned load_byte(const std::byte* source) { return load<std::uint8_t>(source); }
unsigned load_u16(const std::byte* source) { return load<std::uint16_t>(source); }
unsigned load_u32(const std::byte* source) { return load<std::uint32_t>(source); }

// Field k of those of `width` bits in a word, from the lowest on.
unsigned field(unsigned word, std::size_t k, unsigned width) { return word >> (width * k) & ((1U << width) - 1U); }

std::int8_t odd(unsigned s) { return static_cast<std::int8_t>(2 * s + 1); }

// Two to a byte, from the first sub-block on.
void unpack_nibble_scales(const std::byte* packed, std::size_t count, BlockNumbers& numbers) {
  for (std::size_t k = 0; k < count; ++k) numbers.scales.at(k) = odd(field(load_byte(packed + k / 2), k % 2, 4));
}

unsigned with_eighth_sign(unsigned signs) { return signs | (static_cast<unsigned>(std::popcount(signs)) & 1U) << 7U; }

// Point `index`, with weight i of the run negative where bit i of `signs` is set.
void put_signed(const Grid& grid, std::size_t index, unsigned signs, std::int8_t* codes) {
  const auto* point = grid[index];
  for (std::size_t i = 0; i < grid.length(); ++i) {
    codes[i] = static_cast<std::int8_t>(field(signs, i, 1) != 0 ? -point[i] : point[i]);
  }
}

// Point `index` of IQ1 in eighths, moved down by one or else up.
void put_moved(const Grid& grid, std::size_t index, bool down, std::int8_t* codes) {
  const auto* point = grid[index];
  for (std::size_t i = 0; i < grid.length(); ++i) codes[i] = static_cast<std::int8_t>(8 * point[i] + (down ? -1 : 1));
}

}  // namespace

void unpack_iq2_xxs(const std::byte* block, BlockNumbers& numbers) {
  const auto& grid = iq2_xxs_grid();
  for (std::size_t group = 0; group < 8; ++group) {
    const auto* index = block + 2 + 8 * group;
    const auto word = load_u32(index + 4);
    numbers.scales[group] = odd(word >> 28U);
    for (std::size_t run = 0; run < 4; ++run) {
      put_signed(grid, load_byte(index + run), with_eighth_sign(field(word, run, 7)),
                 numbers.codes.data() + 32 * group + 8 * run);
    }
  }
}

void unpack_iq2_xs(const std::byte* block, BlockNumbers& numbers) {
  const auto& grid = iq2_xs_grid();
  for (std::size_t run = 0; run < 32; ++run) {
    const auto word = load_u16(block + 2 + 2 * run);
    put_signed(grid, word & 511U, with_eighth_sign(word >> 9U), numbers.codes.data() + 8 * run);
  }
  unpack_nibble_scales(block + 66, 16, numbers);
}

void unpack_iq2_s(const std::byte* block, BlockNumbers& numbers) {
  const auto& grid = iq2_s_grid();
  const auto *low = block + 2, *signs = block + 34, *high = block + 66;
  for (std::size_t run = 0; run < 32; ++run) {
    const auto index = load_byte(low + run) | field(load_byte(high + run / 4), run % 4, 2) << 8U;
    put_signed(grid, index, load_byte(signs + run), numbers.codes.data() + 8 * run);
  }
  unpack_nibble_scales(block + 74, 16, numbers);
}

void unpack_iq3_xxs(const std::byte* block, BlockNumbers& numbers) {
  const auto& grid = iq3_xxs_grid();
  for (std::size_t group = 0; group < 8; ++group) {
    const auto word = load_u32(block + 66 + 4 * group);
    numbers.scales[group] = odd(word >> 28U);
    for (std::size_t run = 0; run < 8; ++run) {
      const auto signs = with_eighth_sign(field(word, run / 2, 7));  // of two runs of 4
      put_signed(grid, load_byte(block + 2 + 8 * group + run), field(signs, run % 2, 4),
                 numbers.codes.data() + 32 * group + 4 * run);
    }
  }
}

void unpack_iq3_s(const std::byte* block, BlockNumbers& numbers) {
  const auto& grid = iq3_s_grid();
  const auto *low = block + 2, *high = block + 66, *signs = block + 74;
  for (std::size_t run = 0; run < 64; ++run) {
    const auto index = load_byte(low + run) | field(load_byte(high + run / 8), run % 8, 1) << 8U;
    put_signed(grid, index, field(load_byte(signs + run / 2), run % 2, 4), numbers.codes.data() + 4 * run);
  }
  unpack_nibble_scales(block + 106, 8, numbers);
}

// A word of `high`: four times 3 bits of an index, s, whether the sub-block is moved down.
void unpack_iq1_s(const std::byte* block, BlockNumbers& numbers) {
  const auto& grid = iq1_grid();
  for (std::size_t group = 0; group < 8; ++group) {
    const auto word = load_u16(block + 34 + 2 * group);
    numbers.scales[group] = odd(field(word, 4, 3));
    for (std::size_t run = 0; run < 4; ++run) {
      const auto index = load_byte(block + 2 + 4 * group + run) | field(word, run, 3) << 8U;
      put_moved(grid, index, field(word, 15, 1) != 0, numbers.codes.data() + 32 * group + 8 * run);
    }
  }
}

// A nibble of `high`: 3 bits of an index, whether the run is moved down. A word of `scales_and_d`: four times s, a
// nibble of d.
void unpack_iq1_m(const std::byte* block, BlockNumbers& numbers) {
  const auto& grid = iq1_grid();
  for (std::size_t run = 0; run < 32; ++run) {
    const auto nibble = field(load_byte(block + 32 + run / 2), run % 2, 4);
    put_moved(grid, load_byte(block + run) | (nibble & 7U) << 8U, (nibble & 8U) != 0, numbers.codes.data() + 8 * run);
  }
  for (std::size_t k = 0; k < 16; ++k) numbers.scales[k] = odd(field(load_u16(block + 48 + k / 4 * 2), k % 4, 3));
}

}  // namespace normtweak::formats
