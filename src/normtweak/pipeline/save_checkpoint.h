// Writes a quantized model as a directory that readers of Hugging Face checkpoints open.
#pragma once
#include <cstdint>
#include <filesystem>
#include <vector>

#include "normtweak/model/checkpoint.h"
#include "normtweak/model/decoder.h"
#include "normtweak/pipeline/planned_linears.h"
#include "normtweak/pipeline/save_formats.h"

namespace normtweak::pipeline {

// decoder: the quantized version of `original`. Unchanged tensors, config.json's other keys and the tokenizer's files
// are copied from `original` (tensors under the family's names). Changed tensors are packed or dequantized one at a
// time, as they are written. The directory is created, or replaces an older one, atomically. start: as of
// write_folder().
void save_checkpoint(const model::Checkpoint& original, const model::Decoder& decoder,
                     const std::filesystem::path& directory, const SaveFormat& format,
                     const std::filesystem::path& start = {});

// The bytes that save_checkpoint() will write, but for the headers of the files.
std::int64_t saved_bytes(const model::Checkpoint& original, const model::Decoder& decoder, const SaveFormat& format);

// The same if floats are stored in `stored` and `linears` are quantized as planned; those that are not among them are
// copied. For checking the disk before the work starts.
std::int64_t estimated_bytes(const model::Checkpoint& original, at::ScalarType stored, const SaveFormat& format,
                             const std::vector<PlannedLinear>& linears);

}  // namespace normtweak::pipeline
