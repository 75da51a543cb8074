// What --help says of a model.
#pragma once
#include <string>
#include <string_view>

namespace normtweak::cli {

// "The float model: a folder in Hugging Face layout ..., a .gguf file ..., or the id of a hub model ...". packed:
// whether the command reads checkpoints with codes as well.
std::string model_help(std::string_view role, bool packed);

}  // namespace normtweak::cli
