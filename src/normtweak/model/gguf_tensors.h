// The tensors of a GGUF file under Hugging Face's names, in the order of rows that Hugging Face has.
#pragma once
#include <memory>
#include <string_view>

#include "normtweak/formats/gguf.h"
#include "normtweak/model/family.h"

namespace normtweak::model {

// What the frequencies of rotary positions are divided by: a rule of the config at Hugging Face, no tensor.
inline constexpr std::string_view kRotaryFactors = "rope_freqs.weight";

// Throws Error naming a tensor that the family has no name for.
std::shared_ptr<const formats::TensorSource> gguf_tensors(std::shared_ptr<const formats::GgufFile> file,
                                                          const Family& family, const ModelConfig& config);

}  // namespace normtweak::model
