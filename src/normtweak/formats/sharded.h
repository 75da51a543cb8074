// A checkpoint of several files of one format, with an index:
//     model.safetensors.index.json, pytorch_model.bin.index.json
//     {"metadata": {...}, "weight_map": {tensor name: file name}}
// Trap: a file may contain tensors that are not in the index; they do not belong to the model. An index may name a
// million tensors: it is read without a tree.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "normtweak/formats/tensor_source.h"

namespace normtweak::formats {

using OpenShard = std::function<std::unique_ptr<TensorSource>(const std::filesystem::path& file)>;

// `open` is called once for each file that the index names. Throws Error naming the index and what is wrong with it,
// the file that is missing, or a tensor that is not in its file.
std::unique_ptr<TensorSource> open_sharded(const std::filesystem::path& index, const OpenShard& open);

// The text of an index whose tensors have so many bytes more; the same text if it names no size.
std::string index_of_larger(const std::filesystem::path& index, std::uint64_t more_bytes);

}  // namespace normtweak::formats
