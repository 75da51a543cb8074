// A GGUF file seen as a Hugging Face checkpoint: tensor names, row orders and config.json of the original.
#pragma once
#include <filesystem>
#include <memory>

#include "normtweak/formats/gguf.h"
#include "normtweak/model/checkpoint.h"

namespace normtweak::model {

// Throws Error naming the file and what in it is missing or unsupported.
Checkpoint open_gguf_checkpoint(const std::filesystem::path& path);
Checkpoint open_gguf_checkpoint(std::shared_ptr<const formats::GgufFile> file);

}  // namespace normtweak::model
