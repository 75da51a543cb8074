// bitsandbytes, 4 bits: codes into a fixed table of 16 values, times the largest magnitude of each run of 64 weights
// (or another power of two) in row-major order. For the linear `m` with weight [out, in]:
//
//     m.weight                  u8 [out * in / 2, 1]  two codes a byte, the first in the high half
//     m.weight.absmax           f32 [runs]
//     m.weight.quant_map        f32 [16]              the table, for reference: kernels have their own
//     m.weight.quant_state.bitsandbytes__nf4          (or fp4) u8 [length], JSON: quant_type, blocksize, dtype, ...
//
// and with "double quantization"
//
//     m.weight.absmax           u8 [runs]             codes of nested_quant_map
//     m.weight.nested_absmax    f32 [runs / 256]
//     m.weight.nested_quant_map f32 [256]
//
//     absmax = nested_quant_map[code] * nested_absmax + nested_offset, which is a number in the JSON
//
// Traps: `m.weight` may have any dtype of the same bytes (bnb_4bit_quant_storage). The names of the JSON's tensor have
// the type of the table at their end.
#pragma once
#include <memory>

#include "normtweak/formats/linears/quantized_linears.h"

namespace normtweak::formats {

std::unique_ptr<QuantizedLinears> open_bitsandbytes(const Json& json, const std::string& origin,
                                                    const ModuleSpellings& spellings, std::vector<std::string>& notes);
std::vector<Reader> bitsandbytes_readers(const Json& config, std::span<const QuantizedModule> modules,
                                         const std::vector<std::string>& floats, bool head);

}  // namespace normtweak::formats
