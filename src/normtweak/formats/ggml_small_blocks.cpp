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
#include <cstring>

#include "normtweak/formats/ggml_block_codecs.h"

namespace normtweak::formats {
namespace {

constexpr std::size_t kBlockSize = 32;

// Codes of 4 or 5 bits, less `offset`.
void unpack_nibbles(const std::byte* nibbles, std::uint32_t high, int offset, BlockNumbers& numbers) {
  for (std::size_t j = 0; j < kBlockSize / 2; ++j) {
    const auto byte = std::to_integer<std::uint32_t>(nibbles[j]);
    const auto low = (byte & 15U) | ((high >> j & 1U) << 4), upper = (byte >> 4) | ((high >> (j + 16) & 1U) << 4);
    numbers.codes[j] = static_cast<std::int8_t>(static_cast<int>(low) - offset);
    numbers.codes[j + 16] = static_cast<std::int8_t>(static_cast<int>(upper) - offset);
  }
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

std::uint32_t load_high(const std::byte* source) {
  std::uint32_t value = 0;
  std::memcpy(&value, source, sizeof value);
  return value;
}

void store_high(std::uint32_t value, std::byte* target) { std::memcpy(target, &value, sizeof value); }

}  // namespace

void unpack_q4_0(const std::byte* block, BlockNumbers& numbers) { unpack_nibbles(block + 2, 0, 8, numbers); }

void unpack_q4_1(const std::byte* block, BlockNumbers& numbers) { unpack_nibbles(block + 4, 0, 0, numbers); }

void unpack_q5_0(const std::byte* block, BlockNumbers& numbers) {
  unpack_nibbles(block + 6, load_high(block + 2), 16, numbers);
}

void unpack_q5_1(const std::byte* block, BlockNumbers& numbers) {
  unpack_nibbles(block + 8, load_high(block + 4), 0, numbers);
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
