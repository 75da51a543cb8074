// Blocks of 32 weights with one scale d (f16), and in the _1 types a minimum m (f16):
//
//     Q4_0   d[2]             nibbles[16]    w = d * (q - 8)
//     Q4_1   d[2] m[2]        nibbles[16]    w = d * q + m
//     Q5_0   d[2]      high[4] nibbles[16]   w = d * (q - 16)
//     Q5_1   d[2] m[2] high[4] nibbles[16]   w = d * q + m
//     Q8_0   d[2]             i8[32]         w = d * q
//
// Trap: byte j of `nibbles` holds weight j in its low half and weight j + 16 in its high half, not weights 2j and
// 2j + 1. `high` is a u32 whose bit j is the fifth bit of weight j.
#include <array>
#include <cstring>

#include "normtweak/formats/ggml_block_codecs.h"

namespace normtweak::formats {
namespace {

constexpr std::size_t kBlockSize = 32;

// Eight codes a word, the first in its lowest byte.
using Codes = std::array<std::uint64_t, kBlockSize / 8>;
constexpr std::uint64_t kOnes = 0x0101010101010101U;  // a byte times this is that byte in all places

Codes nibbles_at(const std::byte* source) {
  std::array<std::uint64_t, 2> packed = {};
  std::memcpy(packed.data(), source, sizeof packed);
  constexpr auto kLow = 0x0FU * kOnes;
  return {packed[0] & kLow, packed[1] & kLow, packed[0] >> 4U & kLow, packed[1] >> 4U & kLow};
}

// Adds 16 to each code whose bit is set: bit j of a byte, spread to the eight bytes of a word and masked, makes byte j
// anything but 0, to which adding 127 carries into its highest bit.
void add_high(const std::byte* source, Codes& codes) {
  constexpr std::uint64_t kBitOfByte = 0x8040201008040201U;
  for (std::size_t k = 0; k < codes.size(); ++k) {
    const auto bits = (std::to_integer<std::uint64_t>(source[k]) * kOnes) & kBitOfByte;
    codes[k] |= ((bits + 0x7FU * kOnes) & (0x80U * kOnes)) >> 3U;
  }
}

// Less `offset`. The highest bit of each byte keeps what is borrowed within it.
template <unsigned offset>
void put_codes(Codes codes, BlockNumbers& numbers) {
  constexpr auto kHighest = 0x80U * kOnes;
  for (auto& word : codes) word = ((word | kHighest) - offset * kOnes) ^ kHighest;
  std::memcpy(numbers.codes.data(), codes.data(), kBlockSize);
}

// The inverse; returns the fifth bits.
std::uint32_t pack_nibbles(const BlockNumbers& numbers, int offset, std::byte* nibbles) {
  std::uint32_t high = 0;
  for (std::size_t j = 0; j < kBlockSize / 2; ++j) {
    const auto low = static_cast<std::uint32_t>(numbers.codes[j] + offset);
    const auto upper = static_cast<std::uint32_t>(numbers.codes[j + 16] + offset);
    nibbles[j] = static_cast<std::byte>((low & 15U) | (upper & 15U) << 4);
    high |= low >> 4 << j | upper >> 4 << (j + 16);
  }
  return high;
}

void store_high(std::uint32_t value, std::byte* target) { std::memcpy(target, &value, sizeof value); }

}  // namespace

void unpack_q4_0(const std::byte* block, BlockNumbers& numbers) { put_codes<8>(nibbles_at(block + 2), numbers); }

void unpack_q4_1(const std::byte* block, BlockNumbers& numbers) { put_codes<0>(nibbles_at(block + 4), numbers); }

void unpack_q5_0(const std::byte* block, BlockNumbers& numbers) {
  auto codes = nibbles_at(block + 6);
  add_high(block + 2, codes);
  put_codes<16>(codes, numbers);
}

void unpack_q5_1(const std::byte* block, BlockNumbers& numbers) {
  auto codes = nibbles_at(block + 8);
  add_high(block + 4, codes);
  put_codes<0>(codes, numbers);
}

void unpack_q8_0(const std::byte* block, BlockNumbers& numbers) {
  std::memcpy(numbers.codes.data(), block + 2, kBlockSize);
}

void pack_q4_0(const BlockNumbers& numbers, std::byte* block) { pack_nibbles(numbers, 8, block + 2); }

void pack_q4_1(const BlockNumbers& numbers, std::byte* block) { pack_nibbles(numbers, 0, block + 4); }

void pack_q5_0(const BlockNumbers& numbers, std::byte* block) {
  store_high(pack_nibbles(numbers, 16, block + 6), block + 2);
}

void pack_q5_1(const BlockNumbers& numbers, std::byte* block) {
  store_high(pack_nibbles(numbers, 0, block + 8), block + 4);
}

void pack_q8_0(const BlockNumbers& numbers, std::byte* block) {
  std::memcpy(block + 2, numbers.codes.data(), kBlockSize);
}

}  // namespace normtweak::formats
