// Writes a quantized model as a directory that readers of Hugging Face checkpoints open.
#pragma once
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "normtweak/formats/compressed_tensors_config.h"
#include "normtweak/model/checkpoint.h"
#include "normtweak/model/decoder.h"
#include "normtweak/pipeline/planned_linears.h"

namespace normtweak::pipeline {

struct SaveFormat {
  std::string_view name, description;
  bool holds_codes;  // false: an export, from which codes cannot be recovered
};
std::span<const SaveFormat> save_formats();
const SaveFormat& find_save_format(std::string_view name);  // throws Error listing them, and the next best

// decoder: the quantized version of `original`. Unchanged tensors, config.json's other keys and the tokenizer's files
// are copied from `original` (tensors under the family's names), and so is a head that came packed, unless `format`
// holds no codes. Changed tensors are packed or dequantized one at a time, as they are written. The directory is
// created, or replaces an older one, atomically.
void save_checkpoint(const model::Checkpoint& original, const model::Decoder& decoder,
                     const std::filesystem::path& directory, const SaveFormat& format);

// The bytes that this will write, but for the headers of the files.
std::int64_t saved_bytes(const model::Checkpoint& original, const model::Decoder& decoder, const SaveFormat& format);

// The `quantization_config` that this will write for these linears.
Json packed_config(const model::Checkpoint& original, std::span<const formats::PackedModule> packed,
                   const std::vector<std::string>& floats);

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
