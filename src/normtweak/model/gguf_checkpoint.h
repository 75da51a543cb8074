// A GGUF file seen as a Hugging Face checkpoint: tensor names, row orders and config.json of the original.
#pragma once
#include <filesystem>

#include "normtweak/model/checkpoint.h"

namespace normtweak::model {

// Throws Error naming the file and what in it is missing or unsupported.
Checkpoint open_gguf_checkpoint(const std::filesystem::path& path);

}  // namespace normtweak::model
