// Writes a quantized model as a directory that readers of Hugging Face checkpoints open.
#pragma once
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/formats/linears/quantized_linears.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/model/decoder.h"
#include "normtweak/pipeline/planned_linears.h"

namespace normtweak::pipeline {

struct SaveFormat {
  std::string_view name, description;
  const formats::QuantizationFormat* codes;  // null: an export, from which codes cannot be recovered
  bool is_gguf = false;                      // one file (gguf_file.h), and not a folder that save_checkpoint() writes
};
std::span<const SaveFormat> save_formats();
const SaveFormat& find_save_format(std::string_view name);  // throws Error listing them

// decoder: the quantized version of `original`. Unchanged tensors, config.json's other keys and the tokenizer's files
// are copied from `original` (tensors under the family's names). Changed tensors are packed or dequantized one at a
// time, as they are written. The directory is created, or replaces an older one, atomically.
void save_checkpoint(const model::Checkpoint& original, const model::Decoder& decoder,
                     const std::filesystem::path& directory, const SaveFormat& format);

// The dtype of the scales that go with floats in `stored`: some formats have one of their own. 16-bit models have
// theirs, so that readers do not round scales again; F32 models F16.
at::ScalarType scale_type_for(at::ScalarType stored, const SaveFormat& format);

// A folder that is written in one piece.
struct FolderContents {
  std::vector<formats::TensorToWrite> tensors;
  Json config;
  Json quantization;  // its `quantization_config`, for a side file where the format has one; null: it is float
};
// The same with these contents; the tokenizer's files are those of `original`.
void write_folder(const model::Checkpoint& original, const FolderContents& contents,
                  const std::filesystem::path& directory, const SaveFormat& format);

// The config of `original` with this `quantization_config`; null: without any.
Json config_with(const model::Checkpoint& original, const Json& quantization);

// Names the dtype of the floats, under the key that the config uses; a second one would be ignored, or contradict it in
// older readers.
void set_type(Json& config, at::ScalarType type);

// The bytes that save_checkpoint() will write, but for the headers of the files.
std::int64_t saved_bytes(const model::Checkpoint& original, const model::Decoder& decoder, const SaveFormat& format);

// The `quantization_config` that this will write for these linears in a format with codes. Throws Error naming a linear
// that the format cannot hold.
Json quantization_config(const model::Checkpoint& original, const SaveFormat& format,
                         std::span<const formats::QuantizedModule> quantized, const std::vector<std::string>& floats);

// Whether floats of `original` are converted for a result that stores them in `stored`: if its config names another
// dtype, or if it is a float model and one of its tensors has another. Readers load everything in the config's dtype,
// so that tensors of several would be rounded only there. Otherwise, and in a model that came quantized, each keeps its
// dtype.
bool converts_floats(const model::Checkpoint& original, at::ScalarType stored);

// Sorted names of entries in `directory` that save_checkpoint() did not write; empty if the directory may be replaced.
// A saved checkpoint is recognised by the metadata of its weights; without weights, every entry counts as foreign.
std::vector<std::string> foreign_entries(const std::filesystem::path& directory);

// The bytes that save_checkpoint() will write, but for the headers of the files, if floats are stored in `stored` and
// `linears` are quantized as planned; those that are not among them are copied. For checking the disk before the work
// starts.
std::int64_t estimated_bytes(const model::Checkpoint& original, at::ScalarType stored, const SaveFormat& format,
                             const std::vector<PlannedLinear>& linears);

}  // namespace normtweak::pipeline
