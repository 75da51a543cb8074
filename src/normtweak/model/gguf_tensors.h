// The tensors of a GGUF file under Hugging Face's names, in the order of rows that Hugging Face has.
#pragma once
#include <memory>

#include "normtweak/formats/gguf.h"
#include "normtweak/model/family.h"

namespace normtweak::model {

std::shared_ptr<const formats::TensorSource> gguf_tensors(std::shared_ptr<const formats::GgufFile> file,
                                                          const Family& family, const ModelConfig& config);

}  // namespace normtweak::model
