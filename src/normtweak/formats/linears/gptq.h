// GPTQ, as AutoGPTQ, GPTQModel, Optimum and AutoRound write it: integers of 2, 3, 4 or 8 bits with a zero-point and a
// scale for each group of input columns. For the linear `m` with weight [out, in]:
//
//     m.qweight  i32 [in * bits / 32, out]         codes, packed down the columns as in bit_packing.h
//     m.qzeros   i32 [groups, out * bits / 32]     zero-points, packed along the rows
//     m.scales   F16 or BF16 [groups, out]
//     m.g_idx    i32 [in]                          the group of each input column; may be absent: i / group size
//
// W[o, i] = (code[i, o] - zero[g, o]) * scale[g, o]
//
// Traps: version 1 ("gptq", the usual one) stores zero-point - 1 modulo 2^bits, version 2 ("gptq_v2") the zero-point.
// Zero-points are stored even where all are in the middle. With act-order g_idx is any permutation of the groups; codes
// are in the order of the columns all the same. 5, 6 and 7 bits have two layouts: AutoRound's is dense.
#pragma once
#include <memory>

#include "normtweak/formats/linears/affine_settings.h"
#include "normtweak/formats/linears/quantized_linears.h"

namespace normtweak::formats {

// What differs between the programs that write it.
struct GptqVariant {
  ModuleSettings settings;
  bool subtracts_one = true;  // from zero-points, as version 1 does
};
std::unique_ptr<QuantizedLinears> gptq_linears(GptqVariant variant);

std::unique_ptr<QuantizedLinears> open_gptq(const Json& json, const std::string& origin,
                                            const ModuleSpellings& spellings, std::vector<std::string>& notes);
std::vector<Reader> gptq_readers(const Json& config, std::span<const QuantizedModule> modules,
                                 const std::vector<std::string>& floats, bool head);

// Of affine weights with whole zero-points, in 2, 3, 4 or 8 bits; rows and columns are multiples of 32. Version 1 if
// all are symmetric, which more readers know, otherwise 2.
Json make_gptq_config(std::span<const QuantizedModule> modules, const std::vector<std::string>& floats,
                      const WrittenFamily& family);
std::vector<TensorToWrite> encode_gptq(const Json& config, const QuantizedModule& module);

}  // namespace normtweak::formats
