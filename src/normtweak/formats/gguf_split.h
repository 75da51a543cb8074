// Models split into several GGUF files by llama.cpp's gguf-split: NAME-00001-of-00003.gguf and so on.
//     split.no              which of the files this is, from 0
//     split.count           how many there are
//     split.tensors.count   the tensors of all files together
// The first file has the metadata of the model; each has the descriptions of its own tensors.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "normtweak/base/json/json.h"

namespace normtweak::formats {

// What the keys say of a file that is one of several. Nullopt for a model in one file. Throws Error naming `origin` if
// they do not agree.
struct GgufSplit {
  std::uint64_t number = 0;  // from 0
  std::uint64_t count = 1, tensors = 0;
};
std::optional<GgufSplit> read_gguf_split(const Json& metadata, std::string_view origin);

// How many files there are, by the name of the first of them; nullopt for any other name.
std::optional<std::uint64_t> gguf_parts_by_name(const std::filesystem::path& first);

// The paths of `count` files, of which `first` is the first; just that one if there is one. Throws Error if the name
// does not say so.
std::vector<std::filesystem::path> gguf_parts(const std::filesystem::path& first, std::uint64_t count);

}  // namespace normtweak::formats
