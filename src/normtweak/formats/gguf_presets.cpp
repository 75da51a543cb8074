#include "normtweak/formats/gguf_presets.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "normtweak/base/error.h"

namespace normtweak::formats {
namespace {

using Mixture = GgufMixture;

constexpr std::array<GgufPreset, 20> kPresets = {{
    {"F32", "all weights in F32", Mixture::f32, 0, "F32"},
    {"F16", "matrices in F16", Mixture::f16, 1, "F16"},
    {"BF16", "matrices in BF16", Mixture::bf16, 32, "BF16"},
    {"Q8_0", "8.5 bits a weight", Mixture::q8_0, 7, "Q8_0"},
    {"Q6_K", "6.6 bits a weight", Mixture::q6_k, 18, "Q6_K"},
    {"Q5_K_M", "5.5 bits, some Q6_K", Mixture::q5_k_m, 17, "Q5_K"},
    {"Q5_K_S", "5.5 bits", Mixture::q5_k_s, 16, "Q5_K"},
    {"Q5_1", "6 bits, with a minimum", Mixture::q5_1, 9, "Q5_1"},
    {"Q5_0", "5.5 bits", Mixture::q5_0, 8, "Q5_0"},
    {"Q4_K_M", "4.5 bits, some Q6_K", Mixture::q4_k_m, 15, "Q4_K"},
    {"Q4_K_S", "4.5 bits, some Q5_K", Mixture::q4_k_s, 14, "Q4_K"},
    {"Q4_1", "5 bits, with a minimum", Mixture::q4_1, 3, "Q4_1"},
    {"Q4_0", "4.5 bits", Mixture::q4_0, 2, "Q4_0"},
    {"IQ4_NL", "4.5 bits, levels of unequal distance", Mixture::iq4_nl, 25, "IQ4_NL"},
    {"IQ4_XS", "4.25 bits, levels of unequal distance", Mixture::iq4_xs, 30, "IQ4_XS"},
    {"Q3_K_L", "3.4 bits, some Q5_K", Mixture::q3_k_l, 13, "Q3_K"},
    {"Q3_K_M", "3.4 bits, some Q4_K and Q5_K", Mixture::q3_k_m, 12, "Q3_K"},
    {"Q3_K_S", "3.4 bits", Mixture::q3_k_s, 11, "Q3_K"},
    {"Q2_K", "2.6 bits, some Q3_K and Q4_K", Mixture::q2_k, 10, "Q2_K"},
    {"Q2_K_S", "2.6 bits, some Q4_K", Mixture::q2_k_s, 21, "Q2_K"},
}};

}  // namespace

const GgmlType& ggml_type_named(std::string_view name) {
  const auto types = ggml_types();
  const auto found = std::ranges::find(types, name, &GgmlType::name);
  if (found == types.end()) fail("{}: no type of tensors in GGUF files", name);
  return *found;
}

std::span<const GgufPreset> gguf_presets() { return kPresets; }

const GgufPreset& find_gguf_preset(std::string_view name) {
  std::vector<std::string_view> known;
  for (const auto& preset : kPresets) {
    if (preset.name == name) return preset;
    known.push_back(preset.name);
  }
  fail("{}: no preset for GGUF files; known are {}", name, fmt::join(known, ", "));
}

}  // namespace normtweak::formats
