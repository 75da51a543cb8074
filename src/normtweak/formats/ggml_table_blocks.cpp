// Blocks whose codes stand for the values of a fixed table:
//
//     IQ4_NL   d[2] nibbles[16]                          w = d * kCurve[q]                  blocks of 32
//     IQ4_XS   d[2] high[2] low[4] nibbles[128]          w = d * (s - 32) * kCurve[q]       256, sub-blocks of 32
//     TQ1_0    trits[48] last[4] d[2]                    w = d * (t - 1)                    256
//     TQ2_0    low[64] d[2]                              w = d * (q - 1)                    256
//     MXFP4    e[1] nibbles[16]                          w = 2^(e - 128) * kFloat4[q]       32
//
// Nibbles are in runs of 16 bytes, which hold 32 weights as in Q4_0. Trits: a byte holds five of them (`last`: four) as
// the fraction byte / 256 in base 3, rounded up; those of one byte are 32, 16 or 4 weights apart. `low` as in Q2_K.
#include <algorithm>
#include <cstring>

#include "normtweak/formats/ggml_block_codecs.h"
#include "normtweak/weights/block_type.h"

namespace normtweak::formats {
namespace {

constexpr const auto& kCurve = weights::kFourBitCurve;
// Twice the values of a float of 4 bits: sign, two bits of exponent, one of mantissa.
constexpr std::array<std::int8_t, 16> kFloat4 = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

using Table = std::array<std::int8_t, 16>;

void look_up(const std::byte* nibbles, const Table& table, std::int8_t* codes) {
  for (std::size_t j = 0; j < 16; ++j) {
    const auto byte = std::to_integer<std::uint8_t>(nibbles[j]);
    codes[j] = table.at(byte & 15U);
    codes[j + 16] = table.at(byte >> 4U);
  }
}

// The inverse for codes of kCurve.
void pack_curve(const std::int8_t* codes, std::byte* nibbles) {
  const auto place = [](std::int8_t code) {
    return static_cast<unsigned>(std::ranges::lower_bound(kCurve, code) - kCurve.begin());
  };
  for (std::size_t j = 0; j < 16; ++j) {
    nibbles[j] = static_cast<std::byte>(place(codes[j]) | place(codes[j + 16]) << 4U);
  }
}

// Trit k of a byte, from the most significant one on, less 1.
std::int8_t trit(std::byte byte, unsigned power) {
  const auto rest = (std::to_integer<unsigned>(byte) * power) & 255U;
  return static_cast<std::int8_t>(static_cast<int>((rest * 3U) >> 8U) - 1);
}

void unpack_trits(const std::byte* bytes, std::size_t count, unsigned trits, std::int8_t* codes) {
  unsigned power = 1;
  for (unsigned k = 0; k < trits; ++k, power *= 3) {
    for (std::size_t j = 0; j < count; ++j) *codes++ = trit(bytes[j], power);
  }
}

}  // namespace

void unpack_iq4_nl(const std::byte* block, BlockNumbers& numbers) { look_up(block + 2, kCurve, numbers.codes.data()); }

void unpack_mxfp4(const std::byte* block, BlockNumbers& numbers) { look_up(block + 1, kFloat4, numbers.codes.data()); }

void unpack_iq4_xs(const std::byte* block, BlockNumbers& numbers) {
  std::uint16_t high = 0;
  std::memcpy(&high, block + 2, sizeof high);
  for (std::size_t group = 0; group < 8; ++group) {
    const auto low = std::to_integer<unsigned>(block[4 + group / 2]) >> (group % 2 * 4) & 15U;
    numbers.scales[group] = static_cast<std::int8_t>(static_cast<int>(low | (high >> (2 * group) & 3U) << 4U) - 32);
    look_up(block + 8 + 16 * group, kCurve, numbers.codes.data() + 32 * group);
  }
}

void pack_iq4_nl(const BlockNumbers& numbers, std::byte* block) { pack_curve(numbers.codes.data(), block + 2); }

void pack_iq4_xs(const BlockNumbers& numbers, std::byte* block) {
  unsigned high = 0, low = 0;
  for (std::size_t group = 0; group < 8; ++group) {
    const auto scale = static_cast<unsigned>(numbers.scales[group] + 32);
    low |= (scale & 15U) << (4 * group);
    high |= scale >> 4U << (2 * group);
    pack_curve(numbers.codes.data() + 32 * group, block + 8 + 16 * group);
  }
  std::memcpy(block + 2, &high, 2);
  std::memcpy(block + 4, &low, sizeof low);
}

void unpack_tq1_0(const std::byte* block, BlockNumbers& numbers) {
  unpack_trits(block, 32, 5, numbers.codes.data());
  unpack_trits(block + 32, 16, 5, numbers.codes.data() + 160);
  unpack_trits(block + 48, 4, 4, numbers.codes.data() + 240);
}

void unpack_tq2_0(const std::byte* block, BlockNumbers& numbers) {
  for (std::size_t i = 0; i < 256; ++i) {
    const auto byte = std::to_integer<unsigned>(block[i / 128 * 32 + i % 32]);
    numbers.codes[i] = static_cast<std::int8_t>(static_cast<int>(byte >> (i % 128 / 32 * 2) & 3U) - 1);
  }
}

}  // namespace normtweak::formats
