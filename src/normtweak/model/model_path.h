// Where the model is that the user names.
#pragma once
#include <filesystem>
#include <string>

namespace normtweak::model {

struct ModelPath {
  std::filesystem::path path;  // a folder, or a file whose name ends in .gguf
  std::string note;            // for the user: what a killed run had set aside is back; usually empty
};

// `model`: a folder, a .gguf file, or the id of a hub model that is in the local cache. Throws Error saying what was
// expected, and what a file of another kind is.
ModelPath find_model(const std::string& model);

// Throws Error for a folder without config.json: what in it may have been meant.
[[noreturn]] void refuse_folder(const std::filesystem::path& folder);

}  // namespace normtweak::model
