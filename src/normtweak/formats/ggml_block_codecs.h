// Decoders of ggml block types; the table is in ggml_blocks.cpp. Each source file documents the byte layout of its
// blocks.
#pragma once
#include <cstdint>

#include "normtweak/formats/ggml_blocks.h"

namespace normtweak::formats {

using BlockDecoder = void(const std::byte* source, std::int64_t blocks, float* values);

// Blocks of 32: ggml_small_blocks.cpp
BlockDecoder dequantize_q4_0, dequantize_q4_1, dequantize_q5_0, dequantize_q5_1, dequantize_q8_0;
// Blocks of 256: ggml_k_blocks.cpp
BlockDecoder dequantize_q2_k, dequantize_q3_k, dequantize_q4_k, dequantize_q5_k, dequantize_q6_k;

}  // namespace normtweak::formats
