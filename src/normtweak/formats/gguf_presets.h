// Which tensor of a GGUF file gets which type, by the names that llama.cpp's quantizer has for its mixtures (Q4_K_M
// ...).
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/formats/ggml_blocks.h"

namespace normtweak::formats {

enum class GgufMixture {
  f32,
  f16,
  bf16,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q2_k,
  q2_k_s,
  q3_k_s,
  q3_k_m,
  q3_k_l,
  q4_k_s,
  q4_k_m,
  q5_k_s,
  q5_k_m,
  q6_k,
  iq4_nl,
  iq4_xs,
};

// The row of ggml_types() of this name. Throws Error if there is none.
const GgmlType& ggml_type_named(std::string_view name);

struct GgufPreset {
  std::string_view name;
  std::string_view description;
  GgufMixture mixture;
  std::uint32_t file_type;  // the value of `general.file_type`
  std::string_view type;    // of most tensors
};

std::span<const GgufPreset> gguf_presets();
const GgufPreset& find_gguf_preset(std::string_view name);  // throws Error listing them

// What the choice depends on besides names and shapes.
struct GgufModelFacts {
  std::string architecture;  // `general.architecture`
  std::int64_t layers = 0, heads = 0, key_value_heads = 0;
  std::int64_t experts = 0;  // of a layer; 0: none
};

struct GgufTensorShape {
  std::string name;                 // as in the file
  std::vector<std::int64_t> shape;  // row-major, [out, in] for a linear
};

// For each tensor, in the same order, the type that llama.cpp's quantizer gives it, without an importance matrix. More
// bits go to the output (an embedding that serves as one too), to the value and the down projections of some layers,
// and, where 256 does not divide the columns, blocks of 32 take the place of those of 256. Vectors, norms, routers and
// learned positions are F32. Source: llama_tensor_get_type() of llama.cpp's src/llama-quant.cpp.
std::vector<const GgmlType*> preset_types(const GgufPreset& preset, const GgufModelFacts& model,
                                          std::span<const GgufTensorShape> tensors);

}  // namespace normtweak::formats
