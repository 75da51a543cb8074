// AutoRound's own config, `quant_method` "auto-round": tensors are those of GPTQ (gptq.h) or AWQ (awq.h), as
// `packing_format` says, and `extra_config` has other settings for some modules.
//
//     auto_round:auto_gptq, and by default    GPTQ, version 1, without g_idx
//     auto_round, auto_round:gptqmodel        GPTQ with zero-points as they are
//     auto_round:exllamav2                    the first if symmetric, otherwise the second
//     auto_round:auto_awq                     AWQ
#pragma once
#include <memory>

#include "normtweak/formats/linears/quantized_linears.h"

namespace normtweak::formats {

std::unique_ptr<QuantizedLinears> open_auto_round(const Json& json, const std::string& origin,
                                                  const ModuleSpellings& spellings, std::vector<std::string>& notes);
std::vector<Reader> auto_round_readers(const Json& config, std::span<const QuantizedModule> modules,
                                       const std::vector<std::string>& floats, bool head);

}  // namespace normtweak::formats
