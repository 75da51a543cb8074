// A folder as this program writes it: weights, config and tokenizer.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/base/json/json.h"
#include "normtweak/formats/linears/quantized_linears.h"
#include "normtweak/formats/safetensors.h"
#include "normtweak/model/checkpoint.h"

namespace normtweak::pipeline {

struct FolderContents {
  std::vector<formats::TensorToWrite> tensors;
  Json config;
  Json quantization;  // its `quantization_config`, for a side file where the format has one; null: it is float
  std::string_view side_file = {};  // where that is copied to; empty: nowhere
};

using WeightMaker = std::function<weights::Weight()>;

// The tensors of a quantized linear. outline: the linear, whose weight may lack data; `weight` makes the whole one each
// time that a tensor is written. format and config must outlive the result.
std::vector<formats::TensorToWrite> encoded_when_written(const formats::QuantizationFormat& format, const Json& config,
                                                         const formats::QuantizedModule& outline,
                                                         const WeightMaker& weight);

// The tokenizer's files are those of `original`. The folder is created, or replaces an older one, atomically. start: a
// folder beside it that was written by this function and becomes it: what is in it already is not written again. Empty:
// there is none. If this fails, `start` has parts of both contents.
void write_folder(const model::Checkpoint& original, const FolderContents& contents,
                  const std::filesystem::path& directory, const std::filesystem::path& start = {});

// The bytes of the tokenizer's files.
std::int64_t side_file_bytes(const model::Checkpoint& original);

std::int64_t bytes_of(const formats::TensorToWrite& tensor);

// The config of `original` with this `quantization_config`; null: without any.
Json config_with(const model::Checkpoint& original, const Json& quantization);

// Names the dtype of the floats, under the key that the config uses; a second one would be ignored, or contradict it in
// older readers.
void set_type(Json& config, at::ScalarType type);

// Sorted names of entries in `directory` that write_folder() did not write; empty if the directory may be replaced. A
// saved model is recognised by the metadata of its weights; without weights, every entry counts as foreign.
std::vector<std::string> foreign_entries(const std::filesystem::path& directory);

}  // namespace normtweak::pipeline
