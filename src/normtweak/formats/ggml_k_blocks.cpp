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
#include <c10/util/Half.h>

#include <array>
#include <cstring>

#include "normtweak/formats/ggml_block_codecs.h"

namespace normtweak::formats {
namespace {

constexpr int kBlockSize = 256;

float load_half(const std::byte* source) {
  c10::Half value;
  std::memcpy(&value, source, sizeof value);
  return value;
}

// `width` bits of a byte, starting at bit `shift`.
int bits(std::byte byte, int shift, int width) { return (std::to_integer<int>(byte) >> shift) & ((1 << width) - 1); }

struct ScalesAndMinima {
  std::array<int, 8> scales, minima;
};

// Q4_K, Q5_K: eight scales s and minima t of 6 bits in 12 bytes. i is 0..3.
//     byte i: s[i+4] bits 5-4, s[i]      byte 4+i: t[i+4] bits 5-4, t[i]      byte 8+i: t[i+4] bits 3-0, s[i+4] bits
//     3-0
ScalesAndMinima unpack_scales_and_minima(const std::byte* packed) {
  ScalesAndMinima result = {};
  for (std::size_t i = 0; i < 4; ++i) {
    result.scales[i] = bits(packed[i], 0, 6);
    result.minima[i] = bits(packed[4 + i], 0, 6);
    result.scales[i + 4] = bits(packed[8 + i], 0, 4) | bits(packed[i], 6, 2) << 4;
    result.minima[i + 4] = bits(packed[8 + i], 4, 4) | bits(packed[4 + i], 6, 2) << 4;
  }
  return result;
}

// Q3_K: scale k of 16 has its low 4 bits in half k/8 of byte k%8 and its high 2 bits in quarter k/4 of byte 8 + k%4.
std::array<int, 16> unpack_q3_k_scales(const std::byte* packed) {
  std::array<int, 16> scales = {};
  for (int k = 0; k < 16; ++k) {
    const int low = bits(packed[k % 8], 4 * (k / 8), 4), high = bits(packed[8 + k % 4], 2 * (k / 4), 2);
    scales[static_cast<std::size_t>(k)] = (low | high << 4) - 32;
  }
  return scales;
}

// Q4_K and Q5_K: the latter has one more bit per weight, in `high`.
void decode_4_or_5(const std::byte* block, const std::byte* high, const std::byte* low, float* values) {
  const float d = load_half(block), m = load_half(block + 2);
  const auto [scales, minima] = unpack_scales_and_minima(block + 4);
  for (int group = 0; group < 8; ++group, values += 32) {
    const float scale = d * static_cast<float>(scales[static_cast<std::size_t>(group)]);
    const float minimum = m * static_cast<float>(minima[static_cast<std::size_t>(group)]);
    for (int l = 0; l < 32; ++l) {
      const int fifth = high != nullptr ? bits(high[l], group, 1) << 4 : 0;
      const int q = bits(low[group / 2 * 32 + l], group % 2 * 4, 4) | fifth;
      values[l] = scale * static_cast<float>(q) - minimum;
    }
  }
}

}  // namespace

void dequantize_q2_k(const std::byte* block, std::int64_t blocks, float* values) {
  for (; blocks > 0; --blocks, block += 84, values += kBlockSize) {
    const float d = load_half(block + 80), m = load_half(block + 82);
    for (int i = 0; i < kBlockSize; ++i) {
      const auto scale = block[i / 16];
      const int q = bits(block[16 + i / 128 * 32 + i % 32], i % 128 / 32 * 2, 2);
      values[i] =
          d * static_cast<float>(bits(scale, 0, 4)) * static_cast<float>(q) - m * static_cast<float>(bits(scale, 4, 4));
    }
  }
}

void dequantize_q3_k(const std::byte* block, std::int64_t blocks, float* values) {
  for (; blocks > 0; --blocks, block += 110, values += kBlockSize) {
    const float d = load_half(block + 108);
    const auto scales = unpack_q3_k_scales(block + 96);
    for (int i = 0; i < kBlockSize; ++i) {
      const int low = bits(block[32 + i / 128 * 32 + i % 32], i % 128 / 32 * 2, 2);
      const int q = low - (bits(block[i % 32], i / 32, 1) == 1 ? 0 : 4);
      values[i] = d * static_cast<float>(scales[static_cast<std::size_t>(i / 16)]) * static_cast<float>(q);
    }
  }
}

void dequantize_q4_k(const std::byte* block, std::int64_t blocks, float* values) {
  for (; blocks > 0; --blocks, block += 144, values += kBlockSize) {
    decode_4_or_5(block, nullptr, block + 16, values);
  }
}

void dequantize_q5_k(const std::byte* block, std::int64_t blocks, float* values) {
  for (; blocks > 0; --blocks, block += 176, values += kBlockSize) {
    decode_4_or_5(block, block + 16, block + 48, values);
  }
}

void dequantize_q6_k(const std::byte* block, std::int64_t blocks, float* values) {
  for (; blocks > 0; --blocks, block += 210, values += kBlockSize) {
    const float d = load_half(block + 208);
    for (int group = 0; group < 8; ++group) {
      const auto* low = block + group / 4 * 64 + group % 2 * 32;
      const auto* high = block + 128 + group / 4 * 32;
      for (int l = 0; l < 32; ++l) {
        const int i = group * 32 + l;
        const int q = (bits(low[l], group % 4 / 2 * 4, 4) | bits(high[l], group % 4 * 2, 2) << 4) - 32;
        const int scale = std::to_integer<std::int8_t>(block[192 + i / 16]);
        values[i] = d * static_cast<float>(scale) * static_cast<float>(q);
      }
    }
  }
}

}  // namespace normtweak::formats
