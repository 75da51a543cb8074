// The tensors of a GGUF file under Hugging Face names and with Hugging Face's row order.
#pragma once
#include <memory>

#include "normtweak/formats/gguf.h"
#include "normtweak/model/family.h"

namespace normtweak::model {

// Throws Error naming a tensor for which the family has no name.
std::shared_ptr<const formats::TensorSource> gguf_tensors(std::shared_ptr<const formats::GgufFile> file,
                                                          const Family& family, const ModelConfig& config);

}  // namespace normtweak::model
