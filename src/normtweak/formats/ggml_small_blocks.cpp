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
#include <c10/util/Half.h>

#include <cstring>

#include "normtweak/formats/ggml_block_codecs.h"

namespace normtweak::formats {
namespace {

constexpr int kBlockSize = 32;

template <class Number>
Number load(const std::byte* source) {
  Number value;
  std::memcpy(&value, source, sizeof value);
  return value;
}

float load_half(const std::byte* source) { return load<c10::Half>(source); }

// Calls `value(q)` for the 4- or 5-bit integer of each weight.
template <class Value>
void decode_nibbles(const std::byte* nibbles, std::uint32_t high, float* values, const Value& value) {
  for (int j = 0; j < kBlockSize / 2; ++j) {
    const auto byte = std::to_integer<std::uint32_t>(nibbles[j]);
    values[j] = value(static_cast<int>((byte & 15U) | ((high >> j & 1U) << 4)));
    values[j + 16] = value(static_cast<int>((byte >> 4) | ((high >> (j + 16) & 1U) << 4)));
  }
}

}  // namespace

void dequantize_q4_0(const std::byte* source, std::int64_t blocks, float* values) {
  for (; blocks > 0; --blocks, source += 18, values += kBlockSize) {
    const float d = load_half(source);
    decode_nibbles(source + 2, 0, values, [d](int q) { return d * static_cast<float>(q - 8); });
  }
}

void dequantize_q4_1(const std::byte* source, std::int64_t blocks, float* values) {
  for (; blocks > 0; --blocks, source += 20, values += kBlockSize) {
    const float d = load_half(source), m = load_half(source + 2);
    decode_nibbles(source + 4, 0, values, [d, m](int q) { return d * static_cast<float>(q) + m; });
  }
}

void dequantize_q5_0(const std::byte* source, std::int64_t blocks, float* values) {
  for (; blocks > 0; --blocks, source += 22, values += kBlockSize) {
    const float d = load_half(source);
    const auto high = load<std::uint32_t>(source + 2);
    decode_nibbles(source + 6, high, values, [d](int q) { return d * static_cast<float>(q - 16); });
  }
}

void dequantize_q5_1(const std::byte* source, std::int64_t blocks, float* values) {
  for (; blocks > 0; --blocks, source += 24, values += kBlockSize) {
    const float d = load_half(source), m = load_half(source + 2);
    const auto high = load<std::uint32_t>(source + 4);
    decode_nibbles(source + 8, high, values, [d, m](int q) { return d * static_cast<float>(q) + m; });
  }
}

void dequantize_q8_0(const std::byte* source, std::int64_t blocks, float* values) {
  for (; blocks > 0; --blocks, source += 34, values += kBlockSize) {
    const float d = load_half(source);
    for (int j = 0; j < kBlockSize; ++j) values[j] = d * static_cast<float>(load<std::int8_t>(source + 2 + j));
  }
}

}  // namespace normtweak::formats
