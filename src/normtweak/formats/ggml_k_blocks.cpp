// "K" blocks of 256 weights, in sub-blocks of 16 or 32. Their small integer scales share one f16 factor d, and their
// minima one m:
//
//     Q2_K   scales[16] low[64] d[2] m[2]             w = d * (s & 15) * q - m * (s >> 4)       sub-blocks of 16
//     Q3_K   high[32] low[64] scales[12] d[2]         w = d * (s - 32) * (q - 4)                               16
//     Q4_K   d[2] m[2] scales[12] low[128]            w = d * s * q - m * t                                    32
//     Q5_K   d[2] m[2] scales[12] high[32] low[128]   w = d * s * q - m * t                                    32
//     Q6_K   low[128] high[64] scales[16, i8] d[2]    w = d * s * (q - 32)                                     16
//
// Traps: d is at the end of some blocks and at the start of others. The weights in one byte are 32 or 64 apart: with 2
// bits, byte l of 32 holds weights l, l + 32, l + 64, l + 96 of its half of the block. The 6-bit scales of Q3_K, Q4_K
// and Q5_K are split in two, laid out as drawn at their functions below.
#include <cstring>

#include "normtweak/formats/ggml_block_codecs.h"

namespace normtweak::formats {
namespace {

constexpr std::size_t kBlockSize = 256;

// `width` bits of a byte, starting at bit `shift`.
int bits(std::byte byte, std::size_t shift, int width) {
  return (std::to_integer<int>(byte) >> shift) & ((1 << width) - 1);
}

std::int8_t small(int value) { return static_cast<std::int8_t>(value); }

// Q4_K, Q5_K: eight scales s and minima t of 6 bits in 12 bytes. i is 0..3.
//     byte i: s[i+4] bits 5-4, s[i]      byte 4+i: t[i+4] bits 5-4, t[i]      byte 8+i: t[i+4] bits 3-0, s[i+4] bits
//     3-0
void unpack_scales_and_minima(const std::byte* packed, BlockNumbers& numbers) {
  for (std::size_t i = 0; i < 4; ++i) {
    numbers.scales[i] = small(bits(packed[i], 0, 6));
    numbers.minima[i] = small(-bits(packed[4 + i], 0, 6));
    numbers.scales[i + 4] = small(bits(packed[8 + i], 0, 4) | bits(packed[i], 6, 2) << 4);
    numbers.minima[i + 4] = small(-(bits(packed[8 + i], 4, 4) | bits(packed[4 + i], 6, 2) << 4));
  }
}

// Q3_K: scale k of 16 has its low 4 bits in half k/8 of byte k%8 and its high 2 bits in quarter k/4 of byte 8 + k%4.
void unpack_q3_k_scales(const std::byte* packed, BlockNumbers& numbers) {
  for (std::size_t k = 0; k < 16; ++k) {
    const int low = bits(packed[k % 8], 4 * (k / 8), 4), high = bits(packed[8 + k % 4], 2 * (k / 4), 2);
    numbers.scales[k] = small((low | high << 4) - 32);
  }
}

// Codes of 2 bits: those of one byte are 32 weights apart.
int crumb(const std::byte* low, std::size_t i) { return bits(low[i / 128 * 32 + i % 32], i % 128 / 32 * 2, 2); }

// Q4_K and Q5_K: the latter has one more bit per weight, in `high`.
void unpack_4_or_5(const std::byte* block, const std::byte* high, const std::byte* low, BlockNumbers& numbers) {
  unpack_scales_and_minima(block + 4, numbers);
  for (std::size_t group = 0; group < 8; ++group) {
    for (std::size_t l = 0; l < 32; ++l) {
      const int fifth = high != nullptr ? bits(high[l], group, 1) << 4 : 0;
      numbers.codes[group * 32 + l] = small(bits(low[group / 2 * 32 + l], group % 2 * 4, 4) | fifth);
    }
  }
}

}  // namespace

void unpack_q2_k(const std::byte* block, BlockNumbers& numbers) {
  for (std::size_t k = 0; k < 16; ++k) {
    numbers.scales[k] = small(bits(block[k], 0, 4));
    numbers.minima[k] = small(-bits(block[k], 4, 4));
  }
  for (std::size_t i = 0; i < kBlockSize; ++i) numbers.codes[i] = small(crumb(block + 16, i));
}

void unpack_q3_k(const std::byte* block, BlockNumbers& numbers) {
  unpack_q3_k_scales(block + 96, numbers);
  for (std::size_t i = 0; i < kBlockSize; ++i) {
    numbers.codes[i] = small(crumb(block + 32, i) - (bits(block[i % 32], i / 32, 1) == 1 ? 0 : 4));
  }
}

void unpack_q4_k(const std::byte* block, BlockNumbers& numbers) { unpack_4_or_5(block, nullptr, block + 16, numbers); }

void unpack_q5_k(const std::byte* block, BlockNumbers& numbers) {
  unpack_4_or_5(block, block + 16, block + 48, numbers);
}

void unpack_q6_k(const std::byte* block, BlockNumbers& numbers) {
  std::memcpy(numbers.scales.data(), block + 192, numbers.scales.size());
  for (std::size_t group = 0; group < 8; ++group) {
    const auto* low = block + group / 4 * 64 + group % 2 * 32;
    const auto* high = block + 128 + group / 4 * 32;
    for (std::size_t l = 0; l < 32; ++l) {
      const int q = bits(low[l], group % 4 / 2 * 4, 4) | bits(high[l], group % 4 * 2, 2) << 4;
      numbers.codes[group * 32 + l] = small(q - 32);
    }
  }
}

}  // namespace normtweak::formats
