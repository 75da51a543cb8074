// Packs the integers of the "K" blocks; their layouts are drawn in ggml_k_blocks.cpp.
#include <algorithm>
#include <cstring>

#include "normtweak/formats/ggml_block_codecs.h"

namespace normtweak::formats {
namespace {

constexpr std::size_t kBlockSize = 256;

// Adds the `width` low bits of `value` to a byte, from bit `shift` on.
void put(std::byte& byte, int value, std::size_t shift, int width) {
  byte |= static_cast<std::byte>((value & ((1 << width) - 1)) << shift);
}

void clear(std::byte* bytes, std::size_t count) { std::fill_n(bytes, count, std::byte{0}); }

void put_crumb(std::byte* low, std::size_t i, int value) {
  put(low[i / 128 * 32 + i % 32], value, i % 128 / 32 * 2, 2);
}

void pack_scales_and_minima(const BlockNumbers& numbers, std::byte* packed) {
  clear(packed, 12);
  for (std::size_t i = 0; i < 4; ++i) {
    const int later_scale = numbers.scales[i + 4], later_minimum = -numbers.minima[i + 4];
    put(packed[i], numbers.scales[i], 0, 6);
    put(packed[i], later_scale >> 4, 6, 2);
    put(packed[4 + i], -numbers.minima[i], 0, 6);
    put(packed[4 + i], later_minimum >> 4, 6, 2);
    put(packed[8 + i], later_scale, 0, 4);
    put(packed[8 + i], later_minimum, 4, 4);
  }
}

void pack_q3_k_scales(const BlockNumbers& numbers, std::byte* packed) {
  clear(packed, 12);
  for (std::size_t k = 0; k < 16; ++k) {
    const int scale = numbers.scales[k] + 32;
    put(packed[k % 8], scale, 4 * (k / 8), 4);
    put(packed[8 + k % 4], scale >> 4, 2 * (k / 4), 2);
  }
}

// high: null for Q4_K.
void pack_4_or_5(const BlockNumbers& numbers, std::byte* block, std::byte* high, std::byte* low) {
  pack_scales_and_minima(numbers, block + 4);
  clear(low, kBlockSize / 2);
  if (high != nullptr) clear(high, kBlockSize / 8);
  for (std::size_t i = 0; i < kBlockSize; ++i) {
    const auto group = i / 32, l = i % 32;
    put(low[group / 2 * 32 + l], numbers.codes[i], group % 2 * 4, 4);
    if (high != nullptr) put(high[l], numbers.codes[i] >> 4, group, 1);
  }
}

}  // namespace

void pack_q2_k(const BlockNumbers& numbers, std::byte* block) {
  clear(block, 16 + kBlockSize / 4);
  for (std::size_t k = 0; k < 16; ++k) {
    put(block[k], numbers.scales[k], 0, 4);
    put(block[k], -numbers.minima[k], 4, 4);
  }
  for (std::size_t i = 0; i < kBlockSize; ++i) put_crumb(block + 16, i, numbers.codes[i]);
}

void pack_q3_k(const BlockNumbers& numbers, std::byte* block) {
  clear(block, kBlockSize / 8 + kBlockSize / 4);
  for (std::size_t i = 0; i < kBlockSize; ++i) {
    const int code = numbers.codes[i] + 4;
    put(block[i % 32], code >> 2, i / 32, 1);
    put_crumb(block + 32, i, code);
  }
  pack_q3_k_scales(numbers, block + 96);
}

void pack_q4_k(const BlockNumbers& numbers, std::byte* block) { pack_4_or_5(numbers, block, nullptr, block + 16); }

void pack_q5_k(const BlockNumbers& numbers, std::byte* block) { pack_4_or_5(numbers, block, block + 16, block + 48); }

void pack_q6_k(const BlockNumbers& numbers, std::byte* block) {
  clear(block, kBlockSize / 2 + kBlockSize / 4);
  for (std::size_t i = 0; i < kBlockSize; ++i) {
    const auto group = i / 32, l = i % 32;
    const int code = numbers.codes[i] + 32;
    put(block[group / 4 * 64 + group % 2 * 32 + l], code, group % 4 / 2 * 4, 4);
    put(block[128 + group / 4 * 32 + l], code >> 4, group % 4 * 2, 2);
  }
  std::memcpy(block + 192, numbers.scales.data(), numbers.scales.size());
}

}  // namespace normtweak::formats
