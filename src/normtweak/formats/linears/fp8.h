// FP8 (E4M3) as transformers, DeepSeek's models and AutoFP8 store it: a scale for each tile of the matrix, or one for
// all. For the linear `m` with weight [out, in]:
//
//     m.weight            F8_E4M3 [out, in]
//     m.weight_scale_inv  F32 or BF16 [out / tile rows, in / tile columns], rounded up, or one value
//     or m.weight_scale   the same under another name
//
// W[o, i] = value of code * scale of its tile
//
// Trap: despite its name weight_scale_inv is multiplied with. Scales of activations (input_scale) stay as they are.
#pragma once
#include <memory>

#include "normtweak/formats/linears/quantized_linears.h"

namespace normtweak::formats {

std::unique_ptr<QuantizedLinears> open_fp8(const Json& json, const std::string& origin,
                                           const ModuleSpellings& spellings, std::vector<std::string>& notes);
std::vector<Reader> fp8_readers(const Json& config, std::span<const QuantizedModule> modules,
                                const std::vector<std::string>& floats, bool head);

}  // namespace normtweak::formats
