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

#include "normtweak/formats/ggml_block_bytes.h"
#include "normtweak/formats/ggml_block_codecs.h"

namespace normtweak::formats {
namespace {

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

// Half of a block, or less.
template <std::size_t count>
using Codes = std::array<std::uint8_t, count>;

template <std::size_t count>
void put_codes(const Codes<count>& codes, std::size_t first, BlockNumbers& numbers) {
  std::memcpy(numbers.codes.data() + first, codes.data(), count);
}

// Codes of 2 bits of half a block: those of one byte are 32 weights apart.
Codes<128> crumbs_at(const std::byte* source) {
  const auto packed = bytes_at<32>(source);
  Codes<128> codes;
  for (std::size_t l = 0; l < packed.size(); ++l) {
    codes[l] = packed[l] & 3U;
    codes[l + 32] = packed[l] >> 2U & 3U;
    codes[l + 64] = packed[l] >> 4U & 3U;
    codes[l + 96] = static_cast<std::uint8_t>(packed[l] >> 6U);
  }
  return codes;
}

// Two sub-blocks of 32 codes of 4 bits.
Codes<64> nibbles_at(const std::byte* source) {
  const auto packed = bytes_at<32>(source);
  Codes<64> codes;
  for (std::size_t l = 0; l < packed.size(); ++l) {
    codes[l] = packed[l] & 15U;
    codes[l + 32] = static_cast<std::uint8_t>(packed[l] >> 4U);
  }
  return codes;
}

// 32 codes from `first` on get `value` where their byte of `high` has this bit.
template <std::size_t count>
void add_where(const Codes<32>& high, unsigned bit, std::uint8_t value, std::size_t first, Codes<count>& codes) {
  const auto mask = static_cast<std::uint8_t>(1U << bit);
  for (std::size_t l = 0; l < high.size(); ++l) codes[first + l] += (high[l] & mask) != 0 ? value : 0;
}

}  // namespace

void unpack_q2_k(const std::byte* block, BlockNumbers& numbers) {
  for (std::size_t k = 0; k < 16; ++k) {
    numbers.scales[k] = small(bits(block[k], 0, 4));
    numbers.minima[k] = small(-bits(block[k], 4, 4));
  }
  for (std::size_t half = 0; half < 2; ++half) put_codes(crumbs_at(block + 16 + 32 * half), 128 * half, numbers);
}

void unpack_q3_k(const std::byte* block, BlockNumbers& numbers) {
  unpack_q3_k_scales(block + 96, numbers);
  const auto high = bytes_at<32>(block);
  for (unsigned half = 0; half < 2; ++half) {
    auto codes = crumbs_at(block + 32 + 32 * half);
    for (unsigned k = 0; k < 4; ++k) add_where(high, 4 * half + k, 4, std::size_t{32} * k, codes);
    for (auto& code : codes) code = static_cast<std::uint8_t>(code - 4);
    put_codes(codes, std::size_t{128} * half, numbers);
  }
}

void unpack_q4_k(const std::byte* block, BlockNumbers& numbers) {
  unpack_scales_and_minima(block + 4, numbers);
  for (std::size_t part = 0; part < 4; ++part) put_codes(nibbles_at(block + 16 + 32 * part), 64 * part, numbers);
}

void unpack_q5_k(const std::byte* block, BlockNumbers& numbers) {
  unpack_scales_and_minima(block + 4, numbers);
  const auto high = bytes_at<32>(block + 16);
  for (unsigned part = 0; part < 4; ++part) {
    auto codes = nibbles_at(block + 48 + 32 * part);
    add_where(high, 2 * part, 16, 0, codes);
    add_where(high, 2 * part + 1, 16, 32, codes);
    put_codes(codes, std::size_t{64} * part, numbers);
  }
}

void unpack_q6_k(const std::byte* block, BlockNumbers& numbers) {
  std::memcpy(numbers.scales.data(), block + 192, numbers.scales.size());
  for (std::size_t half = 0; half < 2; ++half) {
    const auto low = bytes_at<64>(block + 64 * half);
    const auto high = bytes_at<32>(block + 128 + 32 * half);
    Codes<128> codes;
    for (std::size_t l = 0; l < high.size(); ++l) {
      codes[l] = static_cast<std::uint8_t>((low[l] & 15U) | (high[l] << 4U & 48U));
      codes[l + 32] = static_cast<std::uint8_t>((low[l + 32] & 15U) | (high[l] << 2U & 48U));
      codes[l + 64] = static_cast<std::uint8_t>(low[l] >> 4U | (high[l] & 48U));
      codes[l + 96] = static_cast<std::uint8_t>(low[l + 32] >> 4U | (high[l] >> 2U & 48U));
    }
    for (auto& code : codes) code = static_cast<std::uint8_t>(code - 32);
    put_codes(codes, 128 * half, numbers);
  }
}

}  // namespace normtweak::formats
