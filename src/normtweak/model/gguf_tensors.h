// The tensors of a GGUF file under Hugging Face names and with Hugging Face's row order.
#pragma once
#include <memory>
#include <string_view>

#include "normtweak/formats/gguf.h"
#include "normtweak/model/family.h"

namespace normtweak::model {

// The tensor of divisors of the rotary frequencies. Hugging Face has a rule in the config instead.
inline constexpr std::string_view kRotaryFactors = "rope_freqs.weight";
// Those of longrope, which Hugging Face has in the config as well.
inline constexpr std::string_view kLongFactors = "rope_factors_long.weight",
                                  kShortFactors = "rope_factors_short.weight";

// Throws Error naming a tensor for which the family has no name.
std::shared_ptr<const formats::TensorSource> gguf_tensors(std::shared_ptr<const formats::GgufFile> file,
                                                          const Family& family, const ModelConfig& config);

}  // namespace normtweak::model
