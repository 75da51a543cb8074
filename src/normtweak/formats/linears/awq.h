// AWQ in the layout "gemm" of AutoAWQ: codes of 4 bits with a zero-point and a scale for each group of input columns.
// For the linear `m` with weight [out, in]:
//
//     m.qweight  i32 [in, out / 8]
//     m.qzeros   i32 [groups, out / 8]
//     m.scales   F16 [groups, out]
//
// W[o, i] = (code[i, o] - zero[g, o]) * scale[g, o]
//
// Traps: the eight codes of a word are interleaved: from the lowest bits on they are those of the outputs 0, 2, 4, 6,
// 1, 3, 5, 7. Zero-points are stored as they are, unlike GPTQ's.
#pragma once
#include <memory>

#include "normtweak/formats/linears/affine_settings.h"
#include "normtweak/formats/linears/quantized_linears.h"
#include "normtweak/formats/linears/skipped_modules.h"

namespace normtweak::formats {

std::unique_ptr<QuantizedLinears> awq_linears(ModuleSettings settings, SkippedModules skipped);

std::unique_ptr<QuantizedLinears> open_awq(const Json& json, const std::string& origin,
                                           const ModuleSpellings& spellings, std::vector<std::string>& notes);
std::vector<Reader> awq_readers(const Json& config, std::span<const QuantizedModule> modules,
                                const std::vector<std::string>& floats, bool head);

// Of affine weights of 4 bits with whole zero-points, all with one group size; rows are a multiple of 8.
Json make_awq_config(std::span<const QuantizedModule> modules, const std::vector<std::string>& floats,
                     const WrittenFamily& family);
std::vector<TensorToWrite> encode_awq(const Json& config, const QuantizedModule& module);

}  // namespace normtweak::formats
