// The block types of llama.cpp that a weight can be quantized to, and what their integers may be. How they lie in a
// file is in formats/ggml_blocks.h.
//     W = code * scale                             Q4_0 Q5_0 Q8_0 IQ4_NL        (scale, minimum: f16)
//     W = code * scale + minimum                   Q4_1 Q5_1
//     W = code * sub_scale * scale                 Q3_K Q6_K IQ4_XS
//     W = code * sub_scale * scale + sub_minimum * minimum     Q2_K Q4_K Q5_K
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace normtweak::weights {

// A range of integers, both ends included.
struct IntegerRange {
  int lowest = 1, highest = 1;
  constexpr bool contains(int value) const { return value >= lowest && value <= highest; }
  bool operator==(const IntegerRange&) const = default;
};

struct BlockType {
  std::string_view name;                    // as GGUF files and llama.cpp have it
  int block_size, sub_size;                 // input columns; equal if there are no sub-blocks
  int block_bytes;                          // all included
  IntegerRange codes;                       // what multiplies the scale, with its sign
  std::span<const std::int8_t> curve = {};  // the codes that there are, in ascending order; empty: all in the range
  IntegerRange sub_scales = {};             // {1, 1} without sub-blocks
  bool has_minimum = false;                 // floats beside the scales, of any sign
  IntegerRange sub_minima = {};             // factors of the minimum; {1, 1} without sub-blocks

  constexpr bool has_sub_blocks() const { return sub_size < block_size; }
  constexpr double bits() const { return 8.0 * block_bytes / block_size; }  // per weight
  constexpr int code_count() const {
    return curve.empty() ? codes.highest - codes.lowest + 1 : static_cast<int>(curve.size());
  }
};

// The codes of IQ4_NL and IQ4_XS: denser around zero, as weights are.
inline constexpr std::array<std::int8_t, 16> kFourBitCurve = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                              1,    13,   25,  38,  53,  69,  89,  113};

inline constexpr auto kBlockTypes = std::to_array<BlockType>({
    {.name = "Q4_0", .block_size = 32, .sub_size = 32, .block_bytes = 18, .codes = {-8, 7}},
    {.name = "Q4_1", .block_size = 32, .sub_size = 32, .block_bytes = 20, .codes = {0, 15}, .has_minimum = true},
    {.name = "Q5_0", .block_size = 32, .sub_size = 32, .block_bytes = 22, .codes = {-16, 15}},
    {.name = "Q5_1", .block_size = 32, .sub_size = 32, .block_bytes = 24, .codes = {0, 31}, .has_minimum = true},
    {.name = "Q8_0", .block_size = 32, .sub_size = 32, .block_bytes = 34, .codes = {-128, 127}},
    {.name = "IQ4_NL",
     .block_size = 32,
     .sub_size = 32,
     .block_bytes = 18,
     .codes = {-127, 113},
     .curve = kFourBitCurve},
    {.name = "IQ4_XS",
     .block_size = 256,
     .sub_size = 32,
     .block_bytes = 136,
     .codes = {-127, 113},
     .curve = kFourBitCurve,
     .sub_scales = {-32, 31}},
    {.name = "Q2_K",
     .block_size = 256,
     .sub_size = 16,
     .block_bytes = 84,
     .codes = {0, 3},
     .sub_scales = {0, 15},
     .has_minimum = true,
     .sub_minima = {-15, 0}},
    {.name = "Q3_K", .block_size = 256, .sub_size = 16, .block_bytes = 110, .codes = {-4, 3}, .sub_scales = {-32, 31}},
    {.name = "Q4_K",
     .block_size = 256,
     .sub_size = 32,
     .block_bytes = 144,
     .codes = {0, 15},
     .sub_scales = {0, 63},
     .has_minimum = true,
     .sub_minima = {-63, 0}},
    {.name = "Q5_K",
     .block_size = 256,
     .sub_size = 32,
     .block_bytes = 176,
     .codes = {0, 31},
     .sub_scales = {0, 63},
     .has_minimum = true,
     .sub_minima = {-63, 0}},
    {.name = "Q6_K",
     .block_size = 256,
     .sub_size = 16,
     .block_bytes = 210,
     .codes = {-32, 31},
     .sub_scales = {-128, 127}},
});

// Null if there is none of this name.
constexpr const BlockType* find_block_type(std::string_view name) {
  for (const auto& type : kBlockTypes) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

}  // namespace normtweak::weights
