// The weights in a folder of Hugging Face layout, whatever their format.
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "normtweak/formats/tensor_source.h"

namespace normtweak::formats {

// The first that is there of model.safetensors, model.safetensors.index.json, pytorch_model.bin and
// pytorch_model.bin.index.json, as in transformers. Throws Error naming the folder and what is missing: all of these, a
// file that an index names, or a tensor in its file. `notes`: gets a line for what a file holds besides tensors.
std::unique_ptr<TensorSource> open_weights(const std::filesystem::path& folder,
                                           std::vector<std::string>* notes = nullptr);

// Whether the name of a file ends as those of weights of PyTorch do: .bin, .pt, .pth.
bool is_named_as_pytorch(const std::filesystem::path& path);

// "model.bin: `epoch` and 2 more are no tensors; ignored"; empty if all are.
std::string note_of_others(const std::string& file, const std::vector<std::string>& not_tensors);

}  // namespace normtweak::formats
